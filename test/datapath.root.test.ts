// Does the node side put programs where they belong, keep them there, and leave nothing behind? With the real objects, in a network
// namespace, a bpffs and a cgroup of the test's own.

import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { after, afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  AddressFlag,
  BackendFlag,
  DeviceFlag,
  FlowFlag,
  FrontendFlag,
  LAYOUT,
  SettingFlag,
  SocketDirection,
} from '../control/abi/layout.gen.ts';
import { loadNative } from '../control/kernel/addon.ts';
import { cleanup } from '../control/kernel/cleanup.ts';
import { type Datapath, LockedError, openDatapath, PreconditionError } from '../control/kernel/datapath.ts';
import { destroyStaleSockets } from '../control/kernel/destroy.ts';
import { openDrain } from '../control/kernel/drain.ts';
import type { Native } from '../control/kernel/native.ts';
import { type Node, openNode } from '../control/kernel/node.ts';
import type { DatapathOptions } from '../control/kernel/options.ts';
import { generationsIn, openPinnedMaps, servingPins } from '../control/kernel/pins.ts';
import { objectPath } from '../control/kernel/preconditions.ts';
import type { ClusterView } from '../control/kernel/writer.ts';
import type { XdpState } from '../control/kernel/xdp.ts';
import { enterOwnNamespace, namesIn, openSandbox, run, until } from './lib/sandbox.ts';

enterOwnNamespace(import.meta.filename);

const native = loadNative();
const sandbox = openSandbox();
after(() => sandbox.close());

const TCX_INGRESS = 46;
const pass = fileURLToPath(new URL('../build/test/pass.o', import.meta.url));
const CONNECT4 = 10;
const view: ClusterView = {
  serviceCIDRs: ['10.96.0.0/16', 'fd96::/112'],
  localPrefixes: undefined,
  nodeAddresses: ['10.1.0.2'],
  nodePorts: new Set([30000, 16400]),
};

/** The kernel of before 6.6: it has no tcx. */
const withoutTcx: Native = {
  ...native,
  query(target, attachType) {
    if (attachType === TCX_INGRESS || attachType === TCX_INGRESS + 1) throw Object.assign(new Error('no such hook'), { code: 'EINVAL' });
    return native.query(target, attachType);
  },
};

const open: { close(): void | Promise<void> }[] = [];

/** An agent's node side, attached. */
async function start(
  options: Partial<DatapathOptions> = {},
  calls: Native = native,
): Promise<{ node: Node; datapath: Datapath; stop: () => Promise<void> }> {
  const all = { ...sandbox.options, ...options };
  const node = openNode(calls, all);
  open.push(node);
  const datapath = await openDatapath(calls, node, all);
  open.push(datapath);
  await datapath.attach(view);
  const stop = async () => {
    for (const one of open.splice(0)) await one.close();
  };
  return { node, datapath, stop };
}

/** sysfs shows the namespace it was mounted in: ask the kernel. */
function indexOf(name: string): number {
  return (JSON.parse(run(`ip -json link show dev ${name}`)) as { ifindex: number }[])[0]!.ifindex;
}

/** Before kernel 6.6 there is no tcx: programs are filters of clsact. */
const tcx = hasTcx();
const mode = tcx ? 'tcx' : 'clsact';

function hasTcx(): boolean {
  try {
    native.query(1, TCX_INGRESS);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EINVAL') return false;
    throw error;
  }
}

/** Ids of the programs at a device's ingress; of filters, ours alone. */
function programsAt(device: string): number[] {
  const ifindex = indexOf(device);
  if (tcx) return native.query(ifindex, TCX_INGRESS).programIds;
  // A handle for each generation of maps.
  return Array.from({ length: 8 }, (_, i) => native.tcQuery(ifindex, 'ingress', 1, 0x51ce + i) ?? []).flat();
}

/** Ids of the links there: none where programs are filters. */
function linksAt(device: string): number[] {
  return tcx ? native.query(indexOf(device), TCX_INGRESS).linkIds : [];
}

/** Id of the XDP program that a device's driver runs. */
function xdpAt(device: string): number | undefined {
  const DRIVER = 1;
  const [link] = JSON.parse(run(`ip -json link show dev ${device}`)) as { xdp?: { mode: number; prog: { id: number } } }[];
  return link?.xdp?.mode === DRIVER ? link.xdp.prog.id : undefined;
}

/** What status says about XDP, by NIC. */
async function xdpStates(datapath: Datapath): Promise<Record<string, XdpState>> {
  const { devices } = await datapath.status();
  return Object.fromEntries(devices.flatMap(({ name, xdp }) => (xdp === undefined ? [] : [[name, xdp]])));
}

const aboutXdp = (datapath: Datapath) =>
  datapath.problems().flatMap(({ reason }) => (reason === 'LoadFailed' || reason === 'XdpRefused' ? [reason] : []));

function programsAtCgroup(): number[] {
  const directory = native.openDirectory(sandbox.options.cgroupRoot ?? '');
  const { programIds } = native.query(directory, CONNECT4);
  native.closeFd(directory);
  return programIds;
}

const emptyFlow = {
  ...{ frontend: 0, backend: 0, generation: 0, seen: 0, ifindex: 0, route_generation: 0, resolved: 0, mtu: 0, flags: 0, source_port: 0 },
  ...{ destination_port: 0, source_mac: '00:00:00:00:00:00', destination_mac: '00:00:00:00:00:00' },
  ...{ source: '0.0.0.0', destination: '0.0.0.0', next_hop: '0.0.0.0' },
};

/** Where the links of the generation that serves are pinned. */
const links = () => servingPins(sandbox.options.pinDirectory)?.links ?? '';

const reservedPorts = '/proc/sys/net/ipv4/ip_local_reserved_ports';

beforeEach(() => {
  run(`ip link add nic0 type veth peer name far0 netns ${sandbox.elsewhere}`);
  run(`ip link add pod0 type veth peer name eth0 netns ${sandbox.elsewhere}`);
  run('ip link add bridge0 type bridge');
  run('ip address add 10.1.0.2/24 dev nic0');
  for (const device of ['nic0', 'pod0', 'bridge0']) run(`ip link set ${device} up`);
  run('ip route add default via 10.1.0.1');
  writeFileSync(reservedPorts, '5000-5001,16390\n');
});

afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
  cleanup(native, sandbox.options);
  for (const device of ['nic0', 'pod0', 'bridge0']) run(`ip link delete ${device}`);
});

describe('datapath', () => {
  test('programs are where the roles say, and status says why', async () => {
    const { datapath } = await start();
    const status = await datapath.status();
    const seen = Object.fromEntries(status.devices.map((device) => [device.name, [device.role, device.mode, device.why]]));
    assert.deepEqual(seen, {
      lo: ['none', undefined, 'loopback'],
      nic0: ['nic', mode, 'has the default route'],
      pod0: ['pod', mode, 'veth whose peer is in another namespace'],
      bridge0: ['none', undefined, 'a bridge: its ports have the programs'],
    });
    assert.equal(programsAt('nic0').length, 1);
    assert.equal(programsAt('pod0').length, 1);
    assert.equal(programsAt('bridge0').length, 0);
    assert.equal(programsAtCgroup().length, 1);
    assert.deepEqual(
      status.devices.flatMap((device) => device.before),
      [],
    );
    assert.equal(status.maps.find((map) => map.name === 'devices')?.entries, 3);
  });

  test('settings, devices and ports say what the node is', async () => {
    const { datapath, node } = await start();
    const settings = datapath.maps.settings.get(0);
    assert(settings !== undefined);
    assert([100, 250, 300, 1000].includes(settings.jiffies_per_second));
    assert.notEqual(settings.host_netns_cookie, 0n);
    assert.equal(settings.tcp_established_timeout, 86400 * settings.jiffies_per_second);
    assert.deepEqual(settings.service4[0], { network: '10.96.0.0', mask: '255.255.0.0' });
    assert.equal(settings.service_count6, 1);
    assert.deepEqual(datapath.maps.devices.get(indexOf('pod0'))?.address4, '10.1.0.2');
    assert.equal(datapath.maps.devices.get(indexOf('nic0'))?.mac.length, 17);
    assert.deepEqual(node.addresses(), { localAddresses: ['10.1.0.2'], defaultRouteAddresses: ['10.1.0.2'] });

    const usable = (port: number) => ((datapath.maps.snat_ports.get(port >> 6) ?? 0n) >> BigInt(port & 63)) & 1n;
    assert.deepEqual([usable(16383), usable(16384), usable(16400), usable(16511), usable(16512)], [0n, 1n, 0n, 1n, 0n]);
    datapath.update({ ...view, nodePorts: new Set([16401]) });
    assert.deepEqual([usable(16400), usable(16401)], [1n, 0n]);
    assert.equal(readFileSync(reservedPorts, 'utf8').trim(), '5000-5001,16384-16511');
  });

  test('another address of the node is that of new masquerades, whatever ways are remembered', async () => {
    const { datapath } = await start();
    const pod = () => datapath.maps.devices.get(indexOf('pod0'))?.address4;
    const generation = () => datapath.maps.settings.get(0)?.route_generation ?? 0;
    const [first, before] = [pod(), generation()];
    datapath.update({ ...view, nodeAddresses: ['192.0.2.77'] });
    assert.deepEqual([first, pod()], ['10.1.0.2', '192.0.2.77']);
    assert(generation() > before);
  });

  test('devices that come get programs, those that go leave no pin, and every change ends remembered ways', async () => {
    const { datapath } = await start();
    const generation = () => datapath.maps.settings.get(0)?.route_generation ?? 0;
    const first = generation();
    run(`ip link add pod1 type veth peer name eth1 netns ${sandbox.elsewhere}`);
    const index = indexOf('pod1');
    await until('programs at pod1', () => programsAt('pod1').length === 1);
    const pins = () => namesIn(`${links()}/device`);
    if (tcx) await until('a pin of pod1', () => pins().includes(`${index}-ingress`));
    assert(generation() > first);
    run('ip link delete pod1');
    await until('no entry of pod1', () => datapath.maps.devices.get(index) === undefined);
    await until('no pin of pod1', () => !pins().includes(`${index}-ingress`));
  });

  test('a restart adopts the maps and replaces every program in place', async () => {
    const before = await start();
    before.datapath.maps.addresses4.set('10.96.0.10', 4);
    const generation = before.datapath.maps.settings.get(0)?.route_generation ?? 0;
    const attached = linksAt('nic0');
    const programs = programsAt('nic0');
    const socketPrograms = programsAtCgroup();
    await before.stop();
    assert.deepEqual([linksAt('nic0'), programsAt('nic0')], [attached, programs], 'nothing is detached when the agent ends');
    assert.equal(openPinnedMaps(native, sandbox.options.pinDirectory)?.addresses4.get('10.96.0.10'), 4);

    const { datapath } = await start();
    assert.deepEqual([before.datapath.adopted, before.datapath.empty], [false, true]);
    assert.deepEqual([datapath.adopted, datapath.empty], [true, false]);
    assert.equal(datapath.maps.addresses4.get('10.96.0.10'), 4);
    assert.deepEqual(linksAt('nic0'), attached, 'the link is the same');
    assert.equal(programsAt('nic0').length, 1);
    assert.notDeepEqual(programsAt('nic0'), programs, 'its program is the new one');
    assert.notDeepEqual(programsAtCgroup(), socketPrograms);
    assert.equal(programsAtCgroup().length, 1);
    assert((datapath.maps.settings.get(0)?.route_generation ?? 0) > generation);
  });

  test('another map size: flows and the ids they name come along, and the old maps go when the programs are swapped', async () => {
    const before = await start();
    const directories = () => namesIn(sandbox.options.pinDirectory);
    const old = directories();
    const { maps } = before.datapath;
    const backend = { port: 80, protocol: 6, generation: 3, flags: BackendFlag.BACKEND_LIVE };
    maps.backends4.set(7, { ...backend, address: '10.2.0.7' });
    maps.backends4.set(200, { ...backend, address: '10.2.0.200' });
    maps.addresses4.set('10.96.0.10', AddressFlag.ADDRESS_FRONTEND);
    const key = { source: '10.1.0.9', destination: '10.96.0.10', source_port: 1, destination_port: 80, protocol: 6 };
    for (const [port, id] of [
      [1, 7],
      [2, 200],
    ] as const)
      maps.flows4.set(
        { ...key, source_port: port },
        { ...emptyFlow, seen: before.datapath.jiffies(), backend: id, generation: 3, route_generation: 9 },
      );
    const affine = { frontend: 5, kind: 0, client: '10.1.0.9' };
    maps.affinities.set(affine, { backend: 7, generation: 3, seen: 1 });
    maps.affinities.set({ ...affine, frontend: 6 }, { backend: 200, generation: 3, seen: 1 });
    const call = { cookie: 5n, address: '10.2.0.200', port: 80, protocol: 17, direction: SocketDirection.SOCKET_REPLY };
    maps.socket_flows.set(call, { address: '10.96.0.10', port: 80, frontend: 5, backend: 200, generation: 3, seen: 1 });
    await before.stop();

    const { datapath } = await start({ mapSizes: { ...sandbox.options.mapSizes, flows4: 8192, backends4: 100 } });
    assert.deepEqual([datapath.adopted, datapath.empty], [false, false], 'they are new, but what the old ones say is in them');
    assert.equal(datapath.maps.flows4.maxEntries, 8192);
    assert.equal(directories().length, 1);
    assert.notDeepEqual(directories(), old);
    assert.equal(programsAt('nic0').length, 1);
    assert.equal(programsAtCgroup().length, 1);
    assert.equal(datapath.maps.flows4.get(key)?.backend, 7);
    assert.deepEqual(datapath.maps.backends4.get(7), { ...backend, address: '10.2.0.7' });
    const moved = datapath.maps.flows4.get({ ...key, source_port: 2 })?.backend ?? 0;
    assert.ok(moved > 0 && moved < 100, 'an id beyond the new limit is given anew');
    assert.equal(datapath.maps.backends4.get(moved)?.address, '10.2.0.200');
    assert.deepEqual(datapath.maps.affinities.get(affine), { backend: 7, generation: 3, seen: 1 });
    assert.equal(datapath.maps.affinities.get({ ...affine, frontend: 6 })?.backend, moved);
    assert.equal(datapath.maps.socket_flows.get(call)?.backend, moved, 'no socket is taken for one of a backend that is gone');
    assert.equal(datapath.maps.addresses4.get('10.96.0.10'), AddressFlag.ADDRESS_FRONTEND, 'its flows are found');
    assert.ok((datapath.maps.settings.get(0)?.route_generation ?? 0) > 1, 'next hops that flows remember are not believed');
    assert.equal((datapath.maps.settings.get(0)?.flags ?? 0) & SettingFlag.SETTING_YIELD, 0);
  });

  test('what a version before generations left leaves: its programs stand at no hook beside ours', async () => {
    const before = await start({ xdp: 'native' });
    const hooks = () => [programsAt('nic0').length, programsAtCgroup().length, xdpAt('nic0') === undefined ? 0 : 1];
    assert.deepEqual(hooks(), [1, 1, 1]);
    const xdp = xdpAt('nic0');
    await before.stop();
    // As that version pinned: links beside the maps, maps without a number and without a word of what they hold.
    const [pinned] = generationsIn(sandbox.options.pinDirectory);
    rmSync(pinned!.layout);
    renameSync(pinned!.links, `${sandbox.options.pinDirectory}/links`);
    renameSync(pinned!.directory, `${sandbox.options.pinDirectory}/0123abcd-89abcdef`);

    const { datapath } = await start({ xdp: 'native' });
    assert.equal(datapath.adopted, false);
    assert.deepEqual(hooks(), [1, 1, 1]);
    assert.notEqual(xdpAt('nic0'), xdp, 'its program is the new one');
    assert.deepEqual(aboutXdp(datapath), []);
    assert.equal(namesIn(sandbox.options.pinDirectory).length, 1);
  });

  test('a start that ended before new flows were its own is undone by the next; the old ones serve until then', async () => {
    const before = await start();
    const old = [linksAt('nic0'), programsAtCgroup(), namesIn(sandbox.options.pinDirectory)] as const;
    await before.stop();
    const larger = { mapSizes: { ...sandbox.options.mapSizes, flows4: 8192 } };
    const dying: Native = {
      ...native,
      linkDetach() {
        throw new Error('killed');
      },
      mapUpdate(fd, key, value, flags) {
        // The write that ends the yielding.
        const flag = value.length === LAYOUT.structs.settings!.size && (value[8]! & SettingFlag.SETTING_YIELD) === 0;
        if (flag && namesIn(sandbox.options.pinDirectory).length === 2) throw new Error('killed');
        native.mapUpdate(fd, key, value, flags);
      },
    };
    await assert.rejects(start(larger, dying), /killed/);
    for (const one of open.splice(0)) await one.close();
    assert.equal(namesIn(sandbox.options.pinDirectory).length, 2);
    assert.equal(programsAt('nic0').length, 2, 'both are attached, and ours yield');

    const same = await start();
    assert.equal(same.datapath.adopted, true, 'the old maps are what serves');
    assert.deepEqual([linksAt('nic0'), namesIn(sandbox.options.pinDirectory)], [old[0], old[2]]);
    assert.equal(programsAtCgroup().length, 1);
    await same.stop();
    const { datapath } = await start(larger);
    assert.equal(datapath.maps.flows4.maxEntries, 8192);
    assert.equal(namesIn(sandbox.options.pinDirectory).length, 1);
  });

  test('a refused load leaves the old programs, and the error names the program', async () => {
    const before = await start();
    const programs = programsAt('nic0');
    await before.stop();
    const log = `libbpf: prog 'nic_ingress': BPF program load failed: Invalid argument\n${'0: R1\n'.repeat(50)}R6 invalid mem access 'scalar'\n`;
    const refusing: Native = {
      ...native,
      async loadAside(path, options) {
        if (path === objectPath('tc')) throw Object.assign(new Error('bpf_object__load: EINVAL'), { code: 'EINVAL', log });
        return native.loadAside(path, options);
      },
    };
    await assert.rejects(start({}, refusing), /refused program nic_ingress of tc\.o.*invalid mem access/s);
    assert.deepEqual(programsAt('nic0'), programs);
  });

  const skip = tcx ? false : 'links of tcx: kernel 6.6; filters have tests of their own below';
  test('what precedes us is seen, what detached us is repaired', { skip }, async () => {
    const { datapath, node } = await start();
    const object = native.load(objectPath('probe'), { programs: ['probe_checksum'] });
    const foreign = native.linkCreate(object.programs.probe_checksum ?? -1, indexOf('nic0'), TCX_INGRESS, 8);
    const nic = async () => (await datapath.status()).devices.find((device) => device.name === 'nic0');
    assert.match((await nic())?.before.join() ?? '', /^ingress: program \d+$/);
    native.closeFd(foreign);
    object.close();
    assert.deepEqual((await nic())?.before, []);

    const link = native.openPin(`${links()}/device/${indexOf('nic0')}-ingress`) ?? -1;
    native.linkDetach(link);
    native.closeFd(link);
    assert.equal(programsAt('nic0').length, 0);
    run('ip link set nic0 mtu 1400');
    await until('the program is back', () => programsAt('nic0').length === 1);
    assert.equal(node.network.current().links.get(indexOf('nic0'))?.mtu, 1400);
  });

  test('while the kernel takes its time to attach, what the cluster says is written, and the end waits', { skip }, async (t) => {
    const gate = Promise.withResolvers<void>();
    t.after(() => gate.resolve());
    let asked = 0;
    const slow: Native = {
      ...native,
      async linkCreateAside(...link) {
        if (link[1] === index) {
          asked++;
          await gate.promise;
        }
        return native.linkCreateAside(...link);
      },
    };
    let index = 0;
    const { datapath } = await start({}, slow);
    run(`ip link add pod1 type veth peer name eth1 netns ${sandbox.elsewhere}`);
    t.after(() => run('ip link delete pod1'));
    index = indexOf('pod1');
    await until('a program is on its way', () => asked === 1);
    const words = () => [...datapath.maps.snat_ports.entries()].join();
    const before = words();
    datapath.update({ ...view, nodePorts: new Set([20000]) });
    assert.notEqual(words(), before);
    assert.deepEqual([programsAt('pod1'), asked], [[], 1]);

    let over = false;
    const closing = datapath.close().then(() => {
      over = true;
    });
    await new Promise(setImmediate);
    assert.equal(over, false);
    gate.resolve();
    await closing;
    assert.equal(programsAt('pod1').length, 1);
    assert.ok(namesIn(`${links()}/device`).includes(`${index}-egress`));
    open.splice(open.indexOf(datapath), 1);
  });

  test('a socket program whose pin somebody removed is attached again', async () => {
    await start();
    const pin = `${links()}/cgroup/connect4`;
    rmSync(pin);
    await until('its link is pinned again', () => existsSync(pin));
  });

  test('a second agent and a cleanup are refused while one runs', async () => {
    const { node } = await start();
    await assert.rejects(
      openDatapath(native, node, sandbox.options),
      (error) => error instanceof LockedError && /another agent runs/.test(error.message),
    );
    assert.throws(() => cleanup(native, sandbox.options), /an agent runs/);
    assert.equal(programsAt('nic0').length, 1);
  });

  test('a drain that netfilter refuses in the middle leaves the node serving new connections, and free for an agent', async () => {
    const before = await start();
    const key = { source: '10.2.0.7', destination: '10.1.0.2', source_port: 80, destination_port: 20000, protocol: 6 };
    before.datapath.maps.flows4.set(key, {
      ...emptyFlow,
      seen: before.datapath.jiffies(),
      flags: FlowFlag.FLOW_REPLY | FlowFlag.FLOW_SEND,
    });
    await before.stop();
    for (const accepted of [0, 1]) {
      let asked = 0;
      const refusing: Native = {
        ...native,
        netlinkRequest() {
          if (asked++ === accepted) throw Object.assign(new Error('netlink: ENOMEM'), { code: 'ENOMEM' });
          return new Uint8Array();
        },
      };
      assert.throws(() => openDrain(refusing, sandbox.options, 60), /ENOMEM/);
      assert.equal(asked, accepted + 1);
      const settings = openPinnedMaps(native, sandbox.options.pinDirectory)?.settings.get(0);
      assert.equal((settings?.flags ?? 0) & SettingFlag.SETTING_YIELD, 0);
    }
    await start();
  });

  test('missing preconditions are told before anything is touched', async () => {
    const node = openNode(native, sandbox.options);
    open.push(node);
    const options = { ...sandbox.options, pinDirectory: `${sandbox.options.stateDirectory}/pins`, cgroupRoot: '/proc' };
    await assert.rejects(openDatapath(native, node, options), (error) => error instanceof PreconditionError && error.lines.length === 2);
    assert.equal(existsSync(options.pinDirectory), false);
  });

  test('hooks can be switched off one by one', async () => {
    const first = await start({ hooks: { tc: false, socket: 'host-only' } });
    assert.equal(programsAt('nic0').length, 0);
    assert.equal(programsAtCgroup().length, 1);
    await first.stop();
    const { datapath } = await start({ hooks: { tc: true, socket: 'off' } });
    assert.equal(programsAt('nic0').length, 1);
    assert.equal(programsAtCgroup().length, 0);
    assert.match((await datapath.status()).unserved.map((row) => row.who).join(), /127\.0\.0\.0\/8/);
  });

  test('the socket hook at a place that does not see the node is refused', async () => {
    run(`mkdir ${sandbox.options.cgroupRoot}/aside`);
    try {
      await assert.rejects(start({ cgroupRoot: `${sandbox.options.cgroupRoot}/aside` }), /does not see this process/);
      assert.deepEqual(namesIn(`${links()}/cgroup`), []);
    } finally {
      run(`rmdir ${sandbox.options.cgroupRoot}/aside`);
    }
  });

  test('XDP runs at the NICs that the mode asks for, is replaced in place, and status says why not elsewhere', async () => {
    const first = await start({ xdp: 'native' });
    const program = xdpAt('nic0');
    assert.ok(program !== undefined);
    assert.equal(xdpAt('pod0'), undefined);
    assert.deepEqual(await xdpStates(first.datapath), { nic0: { native: true, why: 'the driver runs it' } });
    assert.equal(first.datapath.maps.devices.get(indexOf('nic0'))?.flags, DeviceFlag.DEVICE_XDP);
    assert.deepEqual(aboutXdp(first.datapath), []);
    await first.stop();
    assert.equal(xdpAt('nic0'), program, 'nothing is detached when the agent ends');

    const { datapath } = await start({ xdp: 'native' });
    const replaced = xdpAt('nic0');
    assert.ok(replaced !== undefined && replaced !== program, 'the program is the new one');
    assert.deepEqual(namesIn(`${links()}/xdp`), [String(indexOf('nic0'))]);

    await datapath.setXdp('off');
    assert.equal(xdpAt('nic0'), undefined);
    assert.equal(datapath.maps.devices.get(indexOf('nic0'))?.flags, 0);
    assert.deepEqual(await xdpStates(datapath), { nic0: { native: false, why: 'switched off by sluice.xdp' } });
    await datapath.setXdp('auto');
    assert.equal(xdpAt('nic0'), undefined);
    assert.match((await xdpStates(datapath)).nic0?.why ?? '', /^veth: /);
    await datapath.setXdp('native');
    assert.equal(xdpAt('nic0'), replaced, 'the program is loaded once');
    assert.equal(datapath.maps.devices.get(indexOf('nic0'))?.flags, DeviceFlag.DEVICE_XDP);
  });

  test('XDP follows devices that come and go, and comes back where somebody detached it', async () => {
    const { datapath } = await start({ xdp: 'native', devices: ['nic0', 'nic1'] });
    run(`ip link add nic1 type veth peer name far1 netns ${sandbox.elsewhere}`);
    const index = indexOf('nic1');
    await until('XDP at nic1', () => xdpAt('nic1') !== undefined);
    assert.equal(datapath.maps.devices.get(index)?.flags, DeviceFlag.DEVICE_XDP);
    run('ip link delete nic1');
    await until('no pin of nic1', () => !namesIn(`${links()}/xdp`).includes(String(index)));
    assert.equal(datapath.maps.devices.get(index), undefined);

    const link = native.openPin(`${links()}/xdp/${indexOf('nic0')}`) ?? -1;
    native.linkDetach(link);
    native.closeFd(link);
    assert.equal(xdpAt('nic0'), undefined);
    run('ip link set nic0 mtu 1400');
    await until('the program is back', () => xdpAt('nic0') !== undefined);
  });

  test('what is against XDP is said, and with native it is a Problem', async () => {
    run(`ip link set nic0 xdpdrv object ${pass} section xdp`);
    const first = await start({ xdp: 'native' });
    assert.deepEqual(await xdpStates(first.datapath), { nic0: { native: false, why: 'another XDP program is there (EBUSY)' } });
    assert.deepEqual(aboutXdp(first.datapath), ['XdpRefused']);
    assert.equal(first.datapath.maps.devices.get(indexOf('nic0'))?.flags, 0);
    await first.stop();

    run('ip link set nic0 xdpdrv off');
    run(`ip -netns ${sandbox.elsewhere} link set far0 mtu 9000`);
    const { datapath } = await start({ xdp: 'native' });
    assert.match((await xdpStates(datapath)).nic0?.why ?? '', /^the driver refuses \(ERANGE\)/);
    run(`ip -netns ${sandbox.elsewhere} link set far0 mtu 1500`);
    run('ip link set nic0 mtu 1400');
    await until('it is tried again', () => xdpAt('nic0') !== undefined);
    await until('nothing is said against it', () => aboutXdp(datapath).length === 0);
  });

  test('an XDP program that the kernel refuses is a Problem, and tc goes on alone', async () => {
    const refusing: Native = {
      ...native,
      async loadAside(path, options) {
        if (path === objectPath('xdp')) throw Object.assign(new Error('bpf_object__load: EINVAL'), { code: 'EINVAL', log: '' });
        return native.loadAside(path, options);
      },
    };
    const { stop } = await start({ xdp: 'native' });
    await stop();
    const { datapath } = await start({ xdp: 'native' }, refusing);
    assert.equal(xdpAt('nic0'), undefined);
    assert.equal(datapath.maps.devices.get(indexOf('nic0'))?.flags, 0);
    assert.deepEqual(aboutXdp(datapath), ['LoadFailed', 'XdpRefused']);
    assert.equal(programsAt('nic0').length, 1);
  });

  test('cleanup removes everything of ours and nothing else, and again does nothing', async () => {
    const { stop } = await start();
    await stop();
    assert(cleanup(native, sandbox.options).length > 0);
    assert.equal(programsAt('nic0').length + programsAt('pod0').length + programsAtCgroup().length, 0);
    assert.deepEqual(namesIn(sandbox.options.pinDirectory), []);
    assert.equal(existsSync(sandbox.options.pinDirectory), false);
    assert.equal(existsSync(sandbox.options.stateDirectory), false);
    assert.equal(readFileSync(reservedPorts, 'utf8').trim(), '5000-5001,16390');
    assert.deepEqual(cleanup(native, sandbox.options), []);
  });
});

describe('datapath without tcx', () => {
  const filters = (device: string) => run(`tc filter show dev ${device} ingress`);

  test('filters of clsact, replaced in place, repaired when somebody deletes the clsact', async () => {
    const before = await start({}, withoutTcx);
    assert.match(filters('nic0'), /pref 1 bpf.*handle 0x51ce nic_ingress/s);
    assert.equal((await before.datapath.status()).devices.find((device) => device.name === 'pod0')?.mode, 'clsact');
    const first = filters('nic0');
    await before.stop();
    const { datapath } = await start({}, withoutTcx);
    assert.notEqual(filters('nic0'), first, 'the program is the new one');
    assert.equal(filters('nic0').match(/handle/g)?.length, 1);
    run('tc qdisc delete dev nic0 clsact');
    await until('the filter is back', () => filters('nic0').includes('nic_ingress'));
    assert.deepEqual((await datapath.status()).devices.find((device) => device.name === 'nic0')?.before, []);
  });

  test("another's clsact and filter stay, and a filter before ours is seen", async () => {
    run('tc qdisc add dev nic0 clsact');
    const { datapath, stop } = await start({}, withoutTcx);
    run(`tc filter add dev nic0 ingress pref 1 handle 1 bpf da object-file ${objectPath('probe')} section tc`);
    const nic = (await datapath.status()).devices.find((device) => device.name === 'nic0');
    assert.match(nic?.before.join() ?? '', /^ingress: filter pref 1 bpf/);
    await stop();
    cleanup(withoutTcx, sandbox.options);
    assert.doesNotMatch(filters('nic0'), /nic_ingress/);
    assert.match(filters('nic0'), /handle 0x1 /);
    assert.doesNotMatch(run('tc qdisc show dev pod0'), /clsact/, 'ours goes');
  });
});

describe('connected UDP sockets of the node', () => {
  const { FRONTEND_CLUSTER_IP, FRONTEND_HAS_ENDPOINTS } = FrontendFlag;
  const { BACKEND_LIVE, BACKEND_SERVING, BACKEND_LOCAL, BACKEND_HOST } = BackendFlag;
  const UDP = 17;

  async function connected(address: string, port: number): Promise<Socket> {
    const socket = createSocket('udp4');
    socket.connect(port, address);
    await once(socket, 'connect');
    return socket;
  }

  test('one whose backend is gone is destroyed, others are not', async () => {
    const { datapath } = await start();
    const { maps } = datapath;
    const alive = BACKEND_LIVE | BACKEND_SERVING | BACKEND_LOCAL | BACKEND_HOST;
    maps.backends4.set(1, { address: '10.1.0.2', port: 5353, protocol: UDP, flags: alive, generation: 1 });
    maps.slots.fill(0, [1]);
    const none = { first: 0, count: 0 };
    const frontend = {
      id: 7,
      flags: FRONTEND_CLUSTER_IP | FRONTEND_HAS_ENDPOINTS,
      cluster: { first: 0, count: 1 },
      local: none,
      cluster_table: none,
      local_table: none,
      affinity_seconds: 0,
    };
    maps.frontends4.set({ address: '10.96.0.10', port: 53, protocol: UDP }, { ...frontend, check: frontend.id ^ frontend.flags ^ 1 });
    maps.addresses4.set('10.96.0.10', AddressFlag.ADDRESS_FRONTEND | AddressFlag.ADDRESS_CLUSTER_IP);
    const ours = await connected('10.96.0.10', 53);
    const direct = await connected('10.1.0.2', 5353);
    const sockets = [ours, direct];
    try {
      assert([...maps.socket_flows.entries()].length > 0, 'the hook translated it');
      assert.deepEqual(await destroyStaleSockets(native, maps), { sockets: 0, entries: 0, unable: false });

      maps.backends4.set(1, { address: '10.1.0.2', port: 5353, protocol: UDP, flags: BACKEND_LIVE, generation: 1 });
      const ended = once(ours, 'error');
      assert.deepEqual(await destroyStaleSockets(native, maps), { sockets: 1, entries: 0, unable: false });
      assert.match(String((await ended)[0]), /ECONNABORTED/);
      ours.close();
      sockets.shift();
      assert((await destroyStaleSockets(native, maps)).entries > 0, 'its entries go with it');
      assert.equal([...maps.socket_flows.entries()].length, 0);
      assert.equal(direct.remoteAddress().port, 5353);
    } finally {
      for (const socket of sockets) socket.close();
    }
  });
});
