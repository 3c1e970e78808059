// Does the socket hook see this node's processes? The agent connects a UDP socket to a documentation address, which sends nothing, and
// looks whether the hook noticed; what it noticed is the cookie of the node's network namespace (10.6).

import type { Maps } from './maps.ts';
import type { Native } from './native.ts';

/** Another process that does the same at the same moment makes the answer doubtful; then it is asked again. */
const ATTEMPTS = 10;

/** The cookie of the process's network namespace. Throws where the hook does not see the process. */
export function provenCookie(native: Native, maps: Maps, cgroupRoot: string): bigint {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const before = maps.self_tests.get(0)?.runs ?? 0n;
    native.probeConnect(4);
    const after = maps.self_tests.get(0);
    if (after?.runs === before + 1n && after.netns_cookie !== 0n) return after.netns_cookie;
    if (after === undefined || after.runs === before) break;
  }
  throw new Error(
    `the socket hook at ${cgroupRoot} does not see this process: it is not the root of the node's processes. Set cgroupRoot, or switch the socket hook off`,
  );
}
