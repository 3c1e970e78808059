// The decisions of the node side that need no kernel: ports, cgroup root, preconditions, the length of a jiffy, refusals in words.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { findCgroupRoot } from '../control/kernel/cgroup.ts';
import { jiffiesRate } from '../control/kernel/features.ts';
import { refusal } from '../control/kernel/load.ts';
import type { DatapathOptions } from '../control/kernel/options.ts';
import { parsePorts, portsText, portWords } from '../control/kernel/ports.ts';
import { lockedMemory, missingCapabilities, oldKernel } from '../control/kernel/preconditions.ts';
import { settingsOf } from '../control/kernel/settings.ts';
import { unservedWith } from '../control/kernel/unserved.ts';

describe('ports', () => {
  test('a list reads as it is written', () => {
    for (const text of ['', '80', '80,443', '1024-2048,30000-30001', '65535']) assert.equal(portsText(parsePorts(`${text}\n`)), text);
    assert.equal(portsText(parsePorts('3,1-2,4')), '1-4');
    assert.throws(() => parsePorts('eighty'), /not a list of ports/);
  });
  test('words have one bit a usable port', () => {
    const words = portWords({ first: 62, last: 65 }, new Set([63]));
    assert.deepEqual(words.slice(0, 2), [1n << 62n, 3n]);
    assert.equal(words.length, 1024);
    assert(portWords({ first: 65535, last: 65535 }, new Set())[1023] === 1n << 63n);
  });
});

describe('the cgroup root', () => {
  const line = (path: string, root = '/', type = 'cgroup2') => `30 20 0:26 ${root} ${path} rw,nosuid shared:4 - ${type} cgroup2 rw`;
  const found = (lines: string[], roots: string[]) => findCgroupRoot(lines.join('\n'), (path) => roots.includes(path));

  test('is the mount that is the true root', () => assert.equal(found([line('/sys/fs/cgroup')], ['/sys/fs/cgroup']), '/sys/fs/cgroup'));
  test('is not a cgroup v1 mount', () => assert.equal(found([line('/sys/fs/cgroup', '/', 'cgroup')], ['/sys/fs/cgroup']), undefined));
  test("is not a container's own subtree, which also calls itself /", () =>
    assert.equal(found([line('/sys/fs/cgroup'), line('/host/cgroup')], ['/host/cgroup']), '/host/cgroup'));
  test("is the node's, mounted into a container with a cgroup namespace of its own", () =>
    assert.equal(found([line('/sys/fs/cgroup'), line('/host/cgroup', '/../../..')], ['/host/cgroup']), '/host/cgroup'));
  test('is not a part mounted from elsewhere', () => assert.equal(found([line('/x', '/kubepods')], ['/x']), undefined));
  test('may have a blank in its path', () => assert.equal(found([line('/a\\040b')], ['/a b']), '/a b'));
});

describe('preconditions', () => {
  const status = (bits: readonly number[]) =>
    `Name:\tnode\nCapEff:\t${bits
      .reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n)
      .toString(16)
      .padStart(16, '0')}\n`;

  test('capabilities one by one, or root', () => {
    assert.deepEqual(missingCapabilities(status([12, 38, 39])), []);
    assert.deepEqual(missingCapabilities(status([12, 21])), []);
    assert.match(missingCapabilities(status([39, 38])).join(), /^no CAP_NET_ADMIN: /);
    assert.match(missingCapabilities(status([])).join(), /^no CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON: /);
  });
  test('kernel 5.10 counts maps as locked memory', () => {
    const limits = (most: string) =>
      `Limit                     Soft Limit           Hard Limit           Units     \nMax locked memory         65536                ${most}                bytes     \n`;
    const all = [12, 38, 39];
    assert.match(lockedMemory(status(all), limits('65536'), '5.10.0-30-amd64').join(), /^no CAP_SYS_RESOURCE: .* 65536 bytes/);
    assert.deepEqual(lockedMemory(status([...all, 24]), limits('65536'), '5.10.0-30-amd64'), []);
    assert.deepEqual(lockedMemory(status(all), limits('unlimited'), '5.10.0-30-amd64'), []);
    assert.deepEqual(lockedMemory(status(all), limits('65536'), '5.15.1'), []);
    assert.deepEqual(lockedMemory(status(all), limits('65536'), '6.1.0'), []);
  });
  test('the kernel is 5.10 or later', () => {
    for (const version of ['5.10.0-30-amd64', '5.15.1', '6.1.0', '10.0.0']) assert.deepEqual(oldKernel(version), []);
    for (const version of ['5.9.16', '4.19.0']) assert.match(oldKernel(version).join(), /needs 5\.10/);
  });
});

describe('the length of a jiffy', () => {
  const reading = (rate: number, seconds: number) => ({
    jiffies: BigInt(Math.floor(4_294_967_296 - 300 * rate + rate * seconds)),
    ktime_ns: BigInt(Math.round(seconds * 1e9)),
  });
  for (const rate of [100, 250, 300, 1000]) {
    test(`${rate} a second, whenever the readings are taken`, () => {
      for (const start of [12.003, 300.009, 86400.5]) assert.equal(jiffiesRate(reading(rate, start), reading(rate, start + 0.1)), rate);
    });
  }
});

describe('settings', () => {
  const options: DatapathOptions = {
    pinDirectory: '/sys/fs/bpf/sluice',
    stateDirectory: '/run/sluice',
    cgroupRoot: undefined,
    hooks: { tc: true, socket: 'on' },
    xdp: 'auto',
    socketExceptions: [],
    devices: undefined,
    podInterfaces: undefined,
    detectLocal: { mode: 'PodInterfaces' },
    mapSizes: {},
    masqueradeAll: false,
    masqueradeMark: 2 ** 31,
    snatPorts: { first: 16384, last: 29999 },
    conntrack: { tcpEstablishedSeconds: 480 * 3600, tcpCloseWaitSeconds: 3600, udpSeconds: 30, udpStreamSeconds: 120 },
  };
  const clocks = { netnsCookie: 1n, jiffiesPerSecond: 1000 };

  test('prefixes become networks and masks', () => {
    const { settings } = settingsOf(
      options,
      clocks,
      { serviceCIDRs: ['10.96.0.0/12', 'fd00:96::/108', '0.0.0.0/0'], localPrefixes: ['10.244.1.0/24'] },
      1,
    );
    assert.deepEqual(settings.service4, [
      { network: '10.96.0.0', mask: '255.240.0.0' },
      { network: '0.0.0.0', mask: '0.0.0.0' },
    ]);
    assert.deepEqual(settings.service6, [{ network: 'fd00:96::', mask: 'ffff:ffff:ffff:ffff:ffff:ffff:fff0:0' }]);
    assert.deepEqual([settings.service_count4, settings.service_count6, settings.local_count4], [2, 1, 1]);
    assert.equal(settings.flags, 2 | 4 | 8);
    assert.equal(settings.mark, 2 ** 31);
    assert.equal(settings.tcp_established_timeout, 1_728_000_000);
  });
  test('what does not fit is a Problem, and the rest counts', () => {
    const many = Array.from({ length: 9 }, (_, i) => `10.${i}.0.0/16`);
    const { settings, problems } = settingsOf(options, clocks, { serviceCIDRs: many, localPrefixes: undefined }, 1);
    assert.equal(settings.service_count4, 8);
    assert.deepEqual(
      problems.map((problem) => problem.reason),
      ['CapacityExceeded'],
    );
  });
  test('hooks that are off', () => {
    const flags = (socket: 'host-only' | 'off') =>
      settingsOf({ ...options, hooks: { tc: true, socket } }, clocks, { serviceCIDRs: [], localPrefixes: undefined }, 1).settings.flags;
    assert.deepEqual([flags('host-only'), flags('off')], [8, 0]);
  });
});

describe('words for people', () => {
  test('a refusal names the program and shows the end of the log', () => {
    const log = `libbpf: prog 'pod_egress': BPF program load failed: Permission denied\n${Array.from({ length: 40 }, (_, i) => `${i}: insn`).join('\n')}\nR1 is bad\n`;
    const text = refusal('tc', Object.assign(new Error('EACCES'), { log }));
    assert.match(text, /^the kernel refused program pod_egress of tc\.o: EACCES\n/);
    assert.match(text, /R1 is bad$/);
    assert(text.split('\n').length < 15);
  });
  test('the more hooks are off, the more is not served', () => {
    const count = (tc: boolean, socket: 'on' | 'host-only' | 'off') => unservedWith({ tc, socket }).length;
    assert(count(true, 'on') < count(true, 'host-only'));
    assert(count(true, 'host-only') < count(true, 'off'));
    assert(count(true, 'on') < count(false, 'on'));
  });
});
