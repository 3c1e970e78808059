// Which capabilities does the agent need, and what for? The kernel is asked everything that the agent asks, first with what deploy/ gives it,
// then with each one less. On an older kernel: make test-kernels.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { release } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { MAPS } from '../control/abi/layout.gen.ts';
import { loadNative } from '../control/kernel/addon.ts';
import { removePins } from '../control/kernel/pins.ts';
import { objectPath } from '../control/kernel/preconditions.ts';
import { droppedBut, givenCapabilities } from './lib/container.ts';
import { type Outcome, type Prepared, REQUESTS, type Request } from './lib/requests.ts';
import { enterOwnNamespace, openSandbox, run } from './lib/sandbox.ts';

enterOwnNamespace(import.meta.filename);

const PROGRAM = fileURLToPath(new URL('lib/requests.ts', import.meta.url));
const loads: readonly Request[] = ['load tc.o and its maps', 'load xdp.o', 'load sock.o'];
const [major = 0, minor = 0] = release().split('.').map(Number);
const mapsAreLocked = major === 5 && minor < 11;

/** What is refused at least without it. Kernels differ in what else they refuse. */
const NEEDED: Readonly<Record<string, readonly Request[]>> = {
  BPF: loads,
  NET_ADMIN: [...loads, 'attach at a device', 'destroy a socket'],
  // The verifier: programs may not compare pointers or keep them.
  PERFMON: loads,
  SYS_RESOURCE: mapsAreLocked ? ['load tc.o and its maps'] : [],
};

describe('capabilities', () => {
  const native = loadNative();
  const sandbox = openSandbox();
  const pins = sandbox.options.pinDirectory;
  let ifindex: number;
  let runs = 0;
  before(() => {
    run('ip link add v0 type veth peer name v1');
    for (const device of ['v0', 'v1']) run(`ip link set ${device} up`);
    ifindex = Number(/^(\d+): v0@/m.exec(run('ip -o link show v0'))?.[1]);
    mkdirSync(pins, { recursive: true });
    const { maps, programs } = native.load(objectPath('tc'), {});
    const shared = { maps: Object.fromEntries(Object.keys(MAPS).map((name) => [name, maps[name]!])) };
    const all = { ...programs, ...native.load(objectPath('xdp'), shared).programs, ...native.load(objectPath('sock'), shared).programs };
    for (const [name, descriptor] of Object.entries(all)) native.pin(descriptor, `${pins}/${name}`);
    native.pin(maps.settings!, `${pins}/settings`);
  });
  after(() => sandbox.close());

  /** Asks everything with these alone, as a container has it: little locked memory, no way to more privileges. */
  async function ask(capabilities: readonly string[]): Promise<Record<Request, Outcome>> {
    const prepared: Prepared = { pins, ifindex, cgroup: sandbox.options.cgroupRoot!, state: `${sandbox.options.stateDirectory}-${++runs}` };
    const dropped = await droppedBut(capabilities);
    const { stdout } = await execa('prlimit', [
      ...['--memlock=65536', 'capsh', `--drop=${dropped.join(',')}`, '--no-new-privs', `--shell=${process.execPath}`, '--'],
      ...['--disable-warning=ExperimentalWarning', PROGRAM, JSON.stringify(prepared)],
    ]);
    for (const made of ['own', 'again']) removePins(`${pins}/${made}`);
    return JSON.parse(stdout) as Record<Request, Outcome>;
  }

  const refused = (outcomes: Record<Request, Outcome>) => REQUESTS.filter((request) => outcomes[request] !== 'done');

  test('what deploy/ gives is enough for everything', async () => {
    assert.deepEqual(Object.keys(NEEDED).sort(), [...givenCapabilities()].sort());
    const outcomes = await ask(givenCapabilities());
    assert.deepEqual(outcomes, Object.fromEntries(REQUESTS.map((request) => [request, 'done'])));
  });

  for (const [capability, needed] of Object.entries(NEEDED))
    test(
      needed.length > 0
        ? `without ${capability} the kernel refuses to ${needed.join(', ')}`
        : `without ${capability} nothing is refused: kernel ${release()} does not count maps as locked memory`,
      async (t) => {
        const outcomes = await ask(givenCapabilities().filter((name) => name !== capability));
        t.diagnostic(
          refused(outcomes)
            .map((request) => `${request}: ${outcomes[request]}`)
            .join(', ') || 'nothing refused',
        );
        if (needed.length === 0) assert.deepEqual(refused(outcomes), []);
        else
          assert.deepEqual(
            needed.filter((request) => outcomes[request] === 'done'),
            [],
          );
      },
    );
});
