// Where do the socket and the snapshot stand, and where is everything else found by default? One place for the paths.

import { join } from 'node:path';

/** The unix socket of the running agent. */
export function socketPath(stateDirectory: string): string {
  return join(stateDirectory, 'agent.sock');
}

/** What the agent leaves for the command line. */
export function snapshotPath(stateDirectory: string): string {
  return join(stateDirectory, 'snapshot');
}
