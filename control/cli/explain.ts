// sluice explain: why does a connection go where it goes, or nowhere? Reads the pinned maps, asks the running agent what they should say, and
// tells both.

import { type Command, Option } from 'commander';
import { familyOf } from '../address.ts';
import { type AgentAccount, isAgentAccount } from '../agent/account.ts';
import type { Config } from '../config.ts';
import { type Entrance, entranceOf } from '../kernel/entrance.ts';
import { rolesOf } from '../kernel/links.ts';
import { watchNetwork } from '../kernel/network.ts';
import { addressesOf } from '../kernel/node.ts';
import type { Address } from '../model/model.ts';
import { snapshotPath, socketPath } from '../observe/paths.ts';
import { ask } from '../observe/protocol.ts';
import { readSnapshot } from '../observe/snapshot.ts';
import { Refusal } from './exits.ts';
import { type Explanation, explain } from './explain/explanation.ts';
import { explanationLines } from './explain/lines.ts';
import { parseClient, parseTarget } from './explain/question.ts';
import { writeLines } from './output.ts';
import { printable, printableJson } from './text.ts';
import { configOf, type Environment, note, type Options, PLACES, verb } from './verb.ts';

/** Where the client's packets enter, by the devices as the agent sees them, else as this command's configuration does. */
function entrance(environment: Environment, config: Config, address: Address, account: AgentAccount | undefined): Entrance {
  const native = environment.native();
  const watch = watchNetwork(native);
  try {
    const network = watch.current();
    const nodeAddresses = addressesOf(network, config).defaultRouteAddresses;
    const roles =
      account === undefined
        ? rolesOf(network, { ...config, nodeAddresses })
        : new Map(account.devices.map((device) => [device.ifindex, device]));
    return entranceOf(native, address, network, roles);
  } finally {
    watch.close();
  }
}

/** The exit code says what becomes of the connection; that model and kernel differ comes before it. */
function conclude({ outcome, differences }: Explanation): void {
  if (differences.length > 0) throw new Refusal('failed', 'the kernel does not hold what the model says');
  if (outcome === 'passed') throw new Refusal('notOurs', 'no frontend of ours: what is sent there goes on untouched');
  if (outcome === 'denied') throw new Refusal('denied', 'the connection is dropped or rejected');
}

async function run(environment: Environment, options: Options): Promise<void> {
  const client = parseClient(String(options.from));
  const target = parseTarget(String(options.to), familyOf(client.address));
  const config = configOf(options);
  const path = socketPath(config.stateDirectory);
  const account = await ask(path, { ask: 'account', to: target });
  if (account !== undefined && !isAgentAccount(account))
    throw new Refusal('failed', `the agent at ${path} answers as another version does`);
  const maps = environment.pinnedMaps(config.pinDirectory);
  if (maps === undefined) throw new Refusal('nothingPinned', `no maps are pinned in ${config.pinDirectory}`);
  const to = account === undefined ? target : account.account.destination;
  if (to === undefined || 'service' in to) {
    if (account === undefined)
      throw new Refusal('notRunning', `no agent listens at ${path}, and only it knows Services by name: give ADDRESS:PORT/tcp or /udp`);
    const told = account.account.claimants.map(({ service, told: why }) => `Service ${printable(service)} ${printable(why)}`);
    throw new Refusal('nothingPinned', told.join('\n'));
  }
  const { snapshot } = readSnapshot(snapshotPath(config.stateDirectory));
  if (account === undefined) note(environment, `no agent listens at ${path}: this is what the maps say`);
  if (account !== undefined && account.waitingMs !== null)
    note(
      environment,
      `a change waits for ${account.waitingMs} ms to be written${account.refusal === null ? '' : `: ${printable(account.refusal)}`}`,
    );
  const explanation = explain(client, to, {
    maps,
    entrance: entrance(environment, config, client.address, account),
    names: snapshot?.names ?? new Map(),
    account,
    monotonicNs: environment.monotonicNs,
  });
  const lines = options.output === 'json' ? [printableJson(JSON.stringify(explanation, null, 2))] : explanationLines(explanation);
  await writeLines(environment.out, lines);
  conclude(explanation);
}

export function explainVerb(environment: Environment): Command {
  return verb('explain', {
    summary: 'say why a connection goes where it goes, or nowhere: which frontend, policy, endpoints, masquerade, hook and verdict',
    flags: PLACES,
    examples: [
      'sluice explain --from 10.244.1.7 --to 10.96.0.10:53/udp',
      'sluice explain --from 198.51.100.2 --to 192.0.2.10:30080/tcp',
      'sluice explain --from fd00::7 --to [fd96::10]:80/tcp -o json',
      'sluice explain --from 10.244.1.7:40312 --to default/web:http',
    ],
    exits: ['done', 'failed', 'usage', 'notRunning', 'precondition', 'nothingPinned', 'notOurs', 'denied'],
  })
    .addOption(new Option('--from <ADDRESS[:PORT]>', 'who connects: the node itself, a pod, anybody').makeOptionMandatory())
    .addOption(
      new Option(
        '--to <ADDRESS:PORT/PROTO>',
        'where to, tcp or udp; or NAMESPACE/SERVICE[:PORT], the name or number',
      ).makeOptionMandatory(),
    )
    .addOption(new Option('-o, --output <FORMAT>', 'for people or for programs').choices(['text', 'json']).default('text'))
    .action((options: Options) => run(environment, options));
}
