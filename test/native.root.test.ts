// Does the addon carry bytes faithfully and refuse cleanly? What touches devices runs in a network namespace of its own.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { MAPS } from '../control/abi/layout.gen.ts';
import { buildDirectory, loadNative } from '../control/kernel/addon.ts';

const native = loadNative();
const BPF_FS_MAGIC = 0xcafe4a11;
const EMPTY_PACKET = new Uint8Array(64);

/** The page's maps, without those an object has for itself. */
function shared(maps: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.keys(MAPS).map((name) => [name, maps[name]!]));
}

function refusesWith(code: string, syscall: string): (error: unknown) => boolean {
  return (error) => {
    assert(error instanceof Error && 'code' in error && 'syscall' in error, String(error));
    assert.deepEqual([error.code, error.syscall], [code, syscall]);
    return true;
  };
}

describe('objects', () => {
  test('options choose programs, sizes, constants and maps', () => {
    const first = native.load(`${buildDirectory}bpf/tc.o`, {
      ...{ programs: ['probe_clock'], mapSizes: { frontends4: 77 }, rodata: { '.rodata.features': new Uint8Array(8) } },
    });
    const second = native.load(`${buildDirectory}bpf/sock.o`, { programs: ['connect4'], maps: shared(first.maps) });
    try {
      assert.deepEqual(Object.keys(first.programs), ['probe_clock']);
      assert.deepEqual(Object.keys(second.programs), ['connect4']);
      const [ours, theirs] = [native.mapInfo(first.maps.frontends4!), native.mapInfo(second.maps.frontends4!)];
      assert.deepEqual([ours.name, ours.maxEntries], ['frontends4', 77]);
      assert.equal(ours.id, theirs.id);
      assert.equal(native.programInfo(first.programs.probe_clock!).name, 'probe_clock');
    } finally {
      second.close();
      first.close();
      first.close();
    }
    assert.throws(() => native.mapInfo(first.maps.frontends4!), Error);
  });

  test('loaded aside it is the same object, and the event loop turns meanwhile', async () => {
    let turns = 0;
    const turning = setInterval(() => turns++, 1);
    const options = { mapSizes: { frontends4: 77 }, rodata: { '.rodata.features': new Uint8Array(8) } };
    const [one, other] = await Promise.all([1, 2].map(() => native.loadAside(`${buildDirectory}bpf/tc.o`, options)));
    clearInterval(turning);
    const before = native.load(`${buildDirectory}bpf/tc.o`, options);
    try {
      for (const object of [one!, other!]) {
        assert.deepEqual(Object.keys(object.programs), Object.keys(before.programs));
        assert.deepEqual(Object.keys(object.maps), Object.keys(before.maps));
        assert.equal(native.mapInfo(object.maps.frontends4!).maxEntries, 77);
      }
      assert.notEqual(native.mapInfo(one!.maps.frontends4!).id, native.mapInfo(other!.maps.frontends4!).id);
      assert.notEqual(turns, 0);
    } finally {
      for (const object of [one!, other!, before]) object.close();
    }
  });

  test('what an object does not have is refused by name', () => {
    const path = `${buildDirectory}bpf/tc.o`;
    for (const options of [{ programs: ['absent'] }, { mapSizes: { absent: 1 } }, { rodata: { absent: new Uint8Array(1) } }]) {
      assert.throws(() => native.load(path, options), /ENOENT.*absent/);
      assert.throws(() => void native.loadAside(path, options), /ENOENT.*absent/);
    }
    assert.throws(() => native.load(`${buildDirectory}absent.o`, {}), refusesWith('ENOENT', 'bpf_object__open'));
  });

  test('a map of another shape is not taken', () => {
    const object = native.load(`${buildDirectory}bpf/abi.o`, {});
    try {
      assert.throws(
        () => native.load(`${buildDirectory}bpf/abi.o`, { maps: { frontends4: object.maps.frontends6! } }),
        refusesWith('EINVAL', 'bpf_object__open'),
      );
    } finally {
      object.close();
    }
  });

  test('a program that the verifier refuses throws with the end of its log, and prints nothing', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'sluice-native-'));
    try {
      const source = join(directory, 'refused.c');
      writeFileSync(
        source,
        '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n' +
          'SEC("tc") int refused(struct __sk_buff *skb) { return *(int *)(long)skb->data; }\nchar LICENSE[] SEC("license") = "GPL";\n',
      );
      const { stdout: machine } = await execa('uname', ['-m']);
      await execa('clang', [
        '-O2',
        '-g',
        '-target',
        'bpf',
        `-I/usr/include/${machine}-linux-gnu`,
        '-c',
        source,
        '-o',
        join(directory, 'refused.o'),
      ]);
      const program = `
        const { loadNative } = await import(${JSON.stringify(new URL('../control/kernel/addon.ts', import.meta.url).href)});
        const path = ${JSON.stringify(join(directory, 'refused.o'))};
        for (const how of ['load', 'loadAside'])
          try { await loadNative()[how](path, {}); } catch (error) { console.log(JSON.stringify([how, error.code, error.syscall, error.log])); }`;
      const { stdout, stderr } = await execa(process.execPath, ['--input-type=module', '-e', program]);
      const refusals = stdout.split('\n').map((line) => JSON.parse(line) as string[]);
      assert.deepEqual(
        refusals.map((words) => words.slice(0, 3)),
        ['load', 'loadAside'].map((how) => [how, 'EACCES', 'bpf_object__load']),
      );
      for (const [, , , log] of refusals) assert.match(log!, /invalid access to packet/);
      assert.equal(stderr, '');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('arguments', () => {
  const object = native.load(`${buildDirectory}bpf/abi.o`, { mapSizes: { frontends4: 8 } });
  after(() => object.close());

  test('keys and values of another length never reach the kernel', () => {
    const fd = object.maps.frontends4!;
    const [key, value] = [new Uint8Array(8), new Uint8Array(native.mapInfo(fd).valueSize)];
    native.mapUpdate(fd, key, value, 0);
    const wrong: (() => unknown)[] = [
      () => native.mapLookup(fd, new Uint8Array(7)),
      () => native.mapUpdate(fd, key, value.subarray(1), 0),
      () => native.mapUpdate(fd, new Uint8Array(9), value, 0),
      () => native.mapDelete(fd, new Uint8Array(0)),
      () => native.mapUpdateBatch(fd, key, value, 2, 0),
      () => native.mapDeleteBatch(fd, key, 2),
      () => native.mapPage(fd, new Uint8Array(3), 10),
      () => native.mapPage(fd, undefined, 2 ** 31),
      () => native.mapLookup(-1, key),
      () => native.mapLookup(1.5, key),
      () => native.mapLookup(fd, 'key' as unknown as Uint8Array),
      () => native.openPin('a\0b'),
      () => native.netlinkRequest(0, new Uint8Array(8)),
      () => native.tcAttach(1, 'sideways' as 'ingress', 1, 1, 1),
    ];
    for (const call of wrong) assert.throws(call, TypeError, String(call));
  });

  test('a descriptor that is no map is the kernel’s refusal', () => {
    assert.throws(() => native.mapInfo(2), Error);
    assert.throws(() => native.closeFd(1_000_000), refusesWith('EBADF', 'close'));
  });
});

describe('programs', () => {
  test('a run gives the packet back, and the memory of the context', () => {
    const object = native.load(`${buildDirectory}bpf/tc.o`, { programs: ['probe_clock'] });
    try {
      const result = native.testRun(object.programs.probe_clock!, EMPTY_PACKET, { ctx: new Uint8Array(192), repeat: 3 });
      assert.deepEqual([...result.packet], [...EMPTY_PACKET]);
      assert.equal(result.ctx?.length, 192);
      assert.throws(
        () => native.testRun(object.programs.probe_clock!, EMPTY_PACKET, { packetSize: 1 }),
        refusesWith('ENOSPC', 'bpf_prog_test_run'),
      );
    } finally {
      object.close();
    }
  });

  test('helpers are probed', () => {
    const [SCHED_CLS, MAP_LOOKUP, NO_SUCH] = [3, 1, 4095];
    assert.equal(native.probeHelper(SCHED_CLS, MAP_LOOKUP), true);
    assert.equal(native.probeHelper(SCHED_CLS, NO_SUCH), false);
  });
});

describe('files', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-native-'));
  const pins = join(directory, 'pins');
  before(() => {
    mkdirSync(pins);
    native.mount('bpf', pins, 'bpf');
  });
  after(async () => {
    await execa('umount', [pins]);
    rmSync(directory, { recursive: true });
  });

  test('a pin outlives its object and opens as the same map', () => {
    assert.equal(native.fileSystemType(pins), BPF_FS_MAGIC);
    const object = native.load(`${buildDirectory}bpf/abi.o`, {});
    const { id } = native.mapInfo(object.maps.settings!);
    native.pin(object.maps.settings!, join(pins, 'settings'));
    assert.throws(() => native.pin(object.maps.settings!, join(pins, 'settings')), refusesWith('EEXIST', 'bpf_obj_pin'));
    object.close();
    const fd = native.openPin(join(pins, 'settings'));
    assert(fd !== undefined);
    assert.equal(native.mapInfo(fd).id, id);
    native.closeFd(fd);
    assert.equal(native.openPin(join(pins, 'absent')), undefined);
  });

  test('a lock is exclusive until it is closed, on a pin directory too', () => {
    const first = native.lock(pins);
    assert(first !== undefined);
    assert.equal(native.lock(pins), undefined);
    native.closeFd(first);
    const second = native.lock(pins);
    assert(second !== undefined);
    native.closeFd(second);
  });
});

test('links, filters and netlink, in a network namespace of their own', async () => {
  const inside = fileURLToPath(new URL('lib/native-devices.ts', import.meta.url));
  await execa('unshare', ['--net', process.execPath, inside], { stdio: ['ignore', 'inherit', 'inherit'], timeout: 30_000 });
});
