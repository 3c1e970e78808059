// The kernel's maps keep the same suite as those in memory, and give the same answers to any history of commands.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { buildDirectory, loadNative } from '../control/kernel/addon.ts';
import { KernelError, kernelMaps, type Maps, memoryMaps } from '../control/kernel/maps.ts';
import { frontend, key, mapSuite, SUITE_SIZES, sorted } from './lib/map-suite.ts';

function openKernelMaps(): { maps: Maps; close: () => void } {
  const native = loadNative();
  const object = native.load(`${buildDirectory}bpf/abi.o`, { mapSizes: { ...SUITE_SIZES } });
  return { maps: kernelMaps(native, object.maps), close: () => object.close() };
}

mapSuite('kernel', openKernelMaps);

const number32 = fc.integer({ min: 0, max: 0xffffffff });
const command = fc.oneof(
  fc.record({
    what: fc.constant('hash' as const),
    at: fc.nat(90),
    value: number32,
    mode: fc.constantFrom('any' as const, 'noexist' as const, 'exist' as const),
  }),
  fc.record({ what: fc.constant('unhash' as const), at: fc.nat(90) }),
  fc.record({ what: fc.constant('array' as const), at: fc.nat(130), value: number32 }),
  fc.record({ what: fc.constant('trie' as const), length: fc.nat(34), address: fc.nat(255), value: number32 }),
  fc.record({ what: fc.constant('untrie' as const), length: fc.nat(34), address: fc.nat(255) }),
);
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

/** What a command answers, refusals included. */
function run(maps: Maps, step: Command): unknown {
  const range = (length: number, address: number) => ({ prefix_length: length, frontend: 0x0a000000, address: `10.${address}.0.0` });
  try {
    switch (step.what) {
      case 'hash':
        return maps.frontends4.set(key(step.at), frontend(step.value), step.mode);
      case 'unhash':
        return [maps.frontends4.get(key(step.at)), maps.frontends4.delete(key(step.at))];
      case 'array':
        maps.backends4.set(step.at, { address: '10.0.0.1', port: 80, protocol: 6, flags: 1, generation: step.value });
        return maps.backends4.get(step.at);
      case 'trie':
        maps.source_ranges4.set(range(step.length + 30, step.address), step.value);
        return maps.source_ranges4.get(range(64, step.address));
      case 'untrie':
        return [maps.source_ranges4.delete(range(step.length + 30, step.address)), maps.source_ranges4.get(range(64, step.address))];
    }
  } catch (error) {
    assert(error instanceof KernelError);
    return error.code;
  }
}

/** Every entry of the maps that the commands write. */
function contents(maps: Maps): string[][] {
  return [
    sorted(maps.frontends4.entries()),
    sorted(maps.backends4.entries()),
    sorted([...maps.source_ranges4.entries()].map(([k, v]) => [k, v])),
  ];
}

test('memory and kernel give any history of commands the same answers and end with the same entries', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 120 }), (steps) => {
      const { maps, close } = openKernelMaps();
      try {
        const memory = memoryMaps(SUITE_SIZES);
        for (const step of steps) assert.deepEqual(run(memory, step), run(maps, step), JSON.stringify(step));
        assert.deepEqual(contents(memory), contents(maps));
      } finally {
        close();
      }
    }),
    { numRuns: 50 },
  );
});
