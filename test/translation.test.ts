// Are bytes of one layout understood in another? By the names of fields and flags, in both directions.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decoded, encoded } from '../control/abi/codec.ts';
import { Flow6, FlowFlag, LAYOUT, MAPS, Settings } from '../control/abi/layout.gen.ts';
import { type Layout, translation } from '../control/abi/translation.ts';

const other: Layout = {
  structs: {
    settings: { size: 24, fields: { mark: [0, 'be16'], flags: [4, 'u32'], nonsense: [8, 'u64'], service4: [16, 'prefix4*1'] } },
    prefix4: { size: 8, fields: { mask: [0, 'addr4'], network: [4, 'addr4'] } },
  },
  maps: { settings: { key: 'u32', value: 'settings' }, addresses4: { key: 'addr4', value: 'u32' }, gone: { key: 'u32', value: 'u32' } },
  enums: {
    setting_flag: { SETTING_YIELD: 1 << 30, SETTING_SOCKET_PODS: 1, SETTING_OF_THEIRS: 2 },
    address_flag: { ADDRESS_NODE: 4, ADDRESS_RETIRED: 1 },
  },
};

function through(from: Layout, to: Layout, map: string, value: Uint8Array): Uint8Array {
  const between = translation(from, to, map);
  assert.ok(between);
  return between.value(value, 0);
}

describe('translation', () => {
  test('between equal layouts every byte is the same', () => {
    for (const map of Object.values(MAPS)) {
      const between = translation(LAYOUT, LAYOUT, map.name);
      assert.ok(between, map.name);
      assert.deepEqual([between.keySize, between.valueSize], [map.key.size, map.value.size], map.name);
      const zero = new Uint8Array(map.value.size);
      assert.deepEqual(between.value(zero, 0), zero);
    }
    const flow = decoded(Flow6, new Uint8Array(Flow6.size));
    const full = encoded(Flow6, { ...flow, frontend: 7, flags: FlowFlag.FLOW_SEND, source: 'fd00::1', source_mac: '02:00:00:00:00:01' });
    assert.deepEqual(through(LAYOUT, LAYOUT, 'flows6', full), full);
  });

  test('fields are found by name, whatever their order, width and byte order; what is missing is zero', () => {
    const theirs = Uint8Array.of(0x40, 0x01, 0, 0, 3, 0, 0, 0x40, 9, 9, 9, 9, 9, 9, 9, 9, 255, 255, 0, 0, 10, 96, 0, 0);
    const ours = decoded(Settings, through(other, LAYOUT, 'settings', theirs));
    assert.equal(ours.mark, 0x4001);
    assert.deepEqual(ours.service4[0], { network: '10.96.0.0', mask: '255.255.0.0' });
    assert.deepEqual(ours.service4[1], { network: '0.0.0.0', mask: '0.0.0.0' });
    assert.equal(ours.jiffies_per_second, 0);
  });

  test('flags are found by name; what only one side knows is not set', () => {
    const { SETTING_YIELD, SETTING_SOCKET_PODS } = LAYOUT.enums.setting_flag!;
    const theirs = new Uint8Array(24);
    new DataView(theirs.buffer).setUint32(4, (1 << 30) | 1 | 2, true);
    const ours = through(other, LAYOUT, 'settings', theirs);
    assert.equal(decoded(Settings, ours).flags, SETTING_YIELD! | SETTING_SOCKET_PODS!);
    const back = through(LAYOUT, other, 'settings', ours);
    assert.equal(new DataView(back.buffer).getUint32(4, true), (1 << 30) | 1);
    const retired = Uint8Array.of(1, 0, 0, 0);
    assert.equal(through(other, LAYOUT, 'addresses4', retired)[0], LAYOUT.enums.address_flag!.ADDRESS_RETIRED);
  });

  test('a number that no longer fits becomes the largest that does', () => {
    const settings = { ...decoded(Settings, new Uint8Array(Settings.size)), mark: 0x12345 };
    const theirs = through(LAYOUT, other, 'settings', encoded(Settings, settings));
    assert.deepEqual([...theirs.subarray(0, 2)], [0xff, 0xff]);
  });

  test('a map that one side does not have is not translated', () => {
    assert.equal(translation(other, LAYOUT, 'gone'), undefined);
    assert.equal(translation(other, LAYOUT, 'flows4'), undefined);
  });
});
