// sluice cleanup: everything we made leaves this node, also after a crash; or, before, the last connections are waited for; or kube-proxy's
// rules leave it, when we have taken over. Nothing else is touched.

import type { Command } from 'commander';
import { isAgentStatus } from '../agent/status.ts';
import type { Config } from '../config.ts';
import { cleanup } from '../kernel/cleanup.ts';
import { LockedError } from '../kernel/datapath.ts';
import { openDrain } from '../kernel/drain.ts';
import { findKubeProxyRules, isLastThatTranslates, kubeProxyProcesses } from '../kernel/kube-proxy.ts';
import { removeKubeProxyRules } from '../kernel/kube-proxy-rules.ts';
import { socketPath } from '../observe/paths.ts';
import { ask } from '../observe/protocol.ts';
import { Refusal } from './exits.ts';
import { writeLines } from './output.ts';
import { durationText, printable } from './text.ts';
import { configOf, type Environment, note, type Options, PLACES, verb } from './verb.ts';

/** So long an agent must have served beside kube-proxy's rules, and kube-proxy must not have been seen, before they go. */
const GRACE_SECONDS = 60;

/** Why kube-proxy's rules should not be removed now; undefined: nothing speaks against it. */
async function objection(environment: Environment, config: Config): Promise<string | undefined> {
  const processes = kubeProxyProcesses();
  if (processes.length > 0) return `kube-proxy runs (pid ${processes.join(', ')}) and would write its rules again: stop it first`;
  const status = await ask(socketPath(config.stateDirectory), { ask: 'status' });
  if (!isAgentStatus(status) || status.datapath?.kubeProxy === undefined)
    return `no agent serves here (asked at ${socketPath(config.stateDirectory)}): without kube-proxy's rules this node has no Services`;
  // A container's /proc shows no process of another one. The ports are the node's: kube-proxy has ours as long as it runs.
  const taken = status.problems.find(({ reason }) => reason === 'PortTaken');
  if (taken !== undefined) return `kube-proxy may still run, and would write its rules again: ${taken.message}`;
  const { kubeProxy } = status.datapath;
  const since = Math.max(kubeProxy.besideSince ?? environment.now(), kubeProxy.processSeenAt ?? 0);
  const left = GRACE_SECONDS - (environment.now() - since) / 1000;
  if (left <= 0 && (kubeProxy.connections ?? 1) > 0 && isLastThatTranslates(environment.native()))
    return `no other rule of this node translates addresses (a CNI's masquerade would): without one the kernel stops, and ${kubeProxy.connections ?? 'the'} connections that kube-proxy translated end`;
  return left <= 0 ? undefined : `the grace period is not over: try again in ${durationText(left)}, until then kube-proxy can come back`;
}

async function removeRules(environment: Environment, config: Config, force: boolean): Promise<void> {
  const native = environment.native();
  const { modes, unseen } = findKubeProxyRules(native);
  for (const what of unseen) note(environment, `not looked at: ${what}`);
  if (modes.length === 0) return writeLines(environment.out, ['no rules of kube-proxy are here']);
  const against = force ? undefined : await objection(environment, config);
  if (against !== undefined) throw new Refusal('failed', `${against}; or --force. Nothing was removed`);
  const { removed, left } = removeKubeProxyRules(native, modes);
  await writeLines(environment.out, [...removed.map((what) => `removed ${what}`), ...left.map((what) => `left ${what}`)]);
}

async function drain(environment: Environment, config: Config, seconds: number, force: boolean): Promise<void> {
  const native = environment.native();
  if (!force && findKubeProxyRules(native).modes.length === 0)
    throw new Refusal(
      'failed',
      'no rules of kube-proxy are here: nobody would serve new connections. Start it first; or --force. Nothing was changed',
    );
  const draining = openDrain(native, config, seconds);
  if (draining === undefined) return;
  try {
    note(environment, `new connections are left to others; netfilter knows ${draining.held} of our ports`);
    const { left } = await draining.run(seconds, (flows) => note(environment, `${flows} connections live`));
    note(environment, left === 0 ? 'the last connection has ended' : `the time is up: ${left} connections end now`);
  } catch (error) {
    draining.undo();
    throw error;
  } finally {
    draining.close();
  }
}

/** Removes everything of an agent with this configuration, and says what it was. */
export async function runCleanup(environment: Environment, options: Options): Promise<void> {
  const config = configOf(options);
  const force = options.force === true;
  if (options.kubeProxy === true) return removeRules(environment, config, force);
  let removed: readonly string[];
  try {
    if (options.drain !== undefined) {
      const seconds = Number(options.drain);
      if (!Number.isInteger(seconds) || seconds < 1)
        throw new Refusal('usage', `--drain: given ${printable(String(options.drain))}; allowed: seconds, from 1`);
      await drain(environment, config, seconds, force);
    }
    removed = cleanup(environment.native(), config);
  } catch (error) {
    if (error instanceof LockedError) throw new Refusal('alreadyRunning', error.message);
    throw error;
  }
  await writeLines(
    environment.out,
    removed.length === 0 ? ['nothing of ours was here'] : removed.map((what) => `removed ${printable(what)}`),
  );
}

export function cleanupVerb(environment: Environment): Command {
  return verb('cleanup', {
    summary: 'remove programs, maps, pins and every other trace of the agent from this node; connections through them end',
    flags: PLACES,
    examples: [
      'sluice cleanup',
      'sluice cleanup --drain 3600      # kube-proxy is back: it gets what is new, ours end by themselves within an hour',
      'sluice cleanup --kube-proxy      # kube-proxy has stopped for good: its rules go, its connections live on',
      'sluice cleanup --pin-directory /sys/fs/bpf/node2 --state-directory /run/node2',
    ],
    exits: ['done', 'failed', 'usage', 'precondition', 'alreadyRunning'],
  })
    .option('--drain <SECONDS>', 'first take no new connection, and wait so long for those that live to end')
    .option('--kube-proxy', "remove kube-proxy's rules instead, a minute after it was last seen beside an agent that serves")
    .option('--force', 'whatever speaks against it')
    .action((options: Options) => runCleanup(environment, options));
}
