// sluice agent: runs on a node until it is told to stop, and leaves the kernel serving.

import { readFileSync, writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { BindError } from '../agent/observation.ts';
import { type RunningAgent, startAgent } from '../agent/start.ts';
import { effectiveFields } from '../config/effective.ts';
import { FLAGS, type FlagValue, readSwitch } from '../config/flags.ts';
import { type Config, ConfigError } from '../config.ts';
import { home } from '../home.ts';
import { LockedError, PreconditionError } from '../kernel/datapath.ts';
import { initialise } from '../kernel/init.ts';
import { openLog } from '../observe/log.ts';
import { isInCluster } from '../source/kube/identity.ts';
import { runCleanup } from './cleanup.ts';
import { Refusal } from './exits.ts';
import { writeLines } from './output.ts';
import { configFileOf, configOf, type Environment, type Options, readOptions, verb } from './verb.ts';

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(`${home}/package.json`, 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest ? String(manifest.version) : 'unknown';
}

function writeConfig(config: Config, file: string): void {
  try {
    writeFileSync(file, stringify(effectiveFields(config)));
  } catch (error) {
    throw new Refusal('failed', `--write-config-to: ${(error as Error).message}`);
  }
}

/** What cannot be read must not run the agent where something else was meant. */
function switchOf(flag: string, given: FlagValue): boolean {
  const on = typeof given === 'string' ? readSwitch(given) : given === true;
  if (on === undefined) throw new Refusal('usage', `${flag}: given ${JSON.stringify(given)}; allowed: true, false`);
  return on;
}

/** kube-proxy: one thing that is done in place of running; false: none is asked for. */
async function runInstead(environment: Environment, options: Options, config: Config): Promise<boolean> {
  const { writeConfigTo } = options;
  const [cleanup, initOnly] = [switchOf('--cleanup', options.cleanup), switchOf('--init-only', options.initOnly)];
  if (typeof writeConfigTo === 'string' && writeConfigTo !== '') writeConfig(config, writeConfigTo);
  else if (cleanup) await runCleanup(environment, options);
  else if (initOnly) await writeLines(environment.out, initialise(environment.native(), config));
  else return false;
  return true;
}

/** What may end a start, as exits. */
function refusalOf(error: unknown): unknown {
  if (error instanceof ConfigError) return new Refusal('usage', error.message);
  if (error instanceof PreconditionError || error instanceof BindError) return new Refusal('precondition', error.message);
  if (error instanceof LockedError) return new Refusal('alreadyRunning', error.message);
  return error;
}

async function run(environment: Environment, options: Options): Promise<void> {
  const config = configOf(options);
  const done = await runInstead(environment, options, config).catch((error: unknown) => {
    throw refusalOf(error);
  });
  if (done) return;
  if (config.manifests === undefined && config.kubeconfig === undefined && !isInCluster()) {
    const allowed = 'one of them, or to run in a pod with a service account';
    throw new Refusal(
      'usage',
      `sluice.manifests (--manifests), clientConnection.kubeconfig (--kubeconfig): given nothing; allowed: ${allowed}`,
    );
  }
  const file = configFileOf(options);
  const log = openLog(config.verbosity);
  if (config.ignoredFields.length > 0)
    log.warn({ fields: config.ignoredFields }, 'these fields of kube-proxy’s configuration have no effect here');
  // A bug ends the process; its last line says where. State is in the kernel, and the next start adopts it.
  process.on('uncaughtExceptionMonitor', (error) => log.fatal({ err: error }, 'a bug: the agent ends, the kernel keeps serving'));
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      log.info({ signal }, 'stopping; the kernel keeps serving');
      stop.abort();
    });
  }
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }));
  let agent: RunningAgent | undefined;
  try {
    agent = await startAgent({
      config,
      configFile: file === undefined ? undefined : { file, read: () => readOptions(options) },
      native: environment.native(),
      log,
      version: version(),
      signal: stop.signal,
    });
  } catch (error) {
    throw refusalOf(error);
  }
  await stopped;
  await agent?.close();
}

export function agentVerb(environment: Environment): Command {
  const command = verb('agent', {
    summary: 'serve the Services of a cluster, or of a directory of manifests, on this node, and follow their changes',
    flags: FLAGS.map((flag) => flag.name),
    examples: [
      'sluice agent --config /var/lib/kube-proxy/config.conf --hostname-override node-a',
      'sluice agent --kubeconfig /etc/kubernetes/sluice.conf --api-server https://192.0.2.1:6443,https://192.0.2.2:6443',
      'sluice agent --manifests /etc/sluice/manifests',
      'sluice agent --manifests DIR --hostname-override node-a --devices eth0,eth1 --service-cidr 10.96.0.0/12,fd00:96::/108',
      'sluice agent --config /etc/sluice/config.yaml --socket host-only',
    ],
    exits: ['done', 'failed', 'usage', 'precondition', 'alreadyRunning'],
  });
  command.option('--write-config-to <FILE>', 'write the configuration that counts, defaults filled in, to FILE, and exit');
  command.option('--cleanup [true|false]', 'remove everything of the agent from this node, as sluice cleanup does, and exit');
  command.option('--init-only [true|false]', 'do what needs more privilege than the agent (mount a bpffs, reserve ports), and exit');
  return command.action((options: Options) => run(environment, options));
}
