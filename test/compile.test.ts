// Single facts about compiling: Maglev tables, ids, disputes, capacity, and what a change writes.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BackendFlag, FrontendFlag } from '../control/abi/layout.gen.ts';
import { compile } from '../control/compile/compile.ts';
import { REST_MS } from '../control/compile/ids.ts';
import { populate, tableSize } from '../control/compile/maglev.ts';
import { FAMILIES, openPlan, type Plan } from '../control/compile/plan.ts';
import { apply } from '../control/kernel/apply.ts';
import { type Changes, difference } from '../control/kernel/diff.ts';
import { emptyHeld, type Held, readHeld } from '../control/kernel/held.ts';
import { KernelError, type Maps, memoryMaps } from '../control/kernel/maps.ts';
import type { ModelService } from '../control/model/model.ts';
import { adopt, frontendNames, sync } from '../control/sync.ts';
import { checkedMaps } from './lib/checked-maps.ts';
import { meaning } from './lib/meaning.ts';
import { model, NODE, OPTIONS, service } from './lib/services.ts';

const pods = (count: number, port = 8080) => Array.from({ length: count }, (_, i) => `10.244.${i >> 8}.${i & 255}:${port}`);

/** An agent over maps in memory whose clock stands still. */
function agent(sizes: Parameters<typeof checkedMaps>[0] = { slots: 400_000 }) {
  let now = 0;
  const checked = checkedMaps(sizes, () => now, REST_MS);
  let state = adopt(checked.maps, () => now);
  return {
    maps: checked.maps,
    checked,
    wait: (ms: number) => {
      now += ms;
    },
    restart: () => {
      state = adopt(checked.maps, () => now);
    },
    names: () => frontendNames(state),
    sync: (...services: ModelService[]) => sync(checked.maps, state, model(services), OPTIONS),
  };
}

const at = (address: string, port = 80, protocol = 6) => ({ address, port, protocol });
const tableOf = (maps: Maps, address: string, port = 80) => {
  const { first, count } = maps.frontends4.get(at(address, port))!.cluster_table;
  return Array.from({ length: count }, (_, i) => maps.backends4.get(maps.slots.get(first + i))!.address);
};

describe('Maglev', () => {
  test('sizes are primes, about 100 slots a backend and more', () => {
    for (const backends of [1, 7, 8, 14, 56, 225, 901, 1792]) {
      const size = tableSize(backends);
      assert.ok(size >= backends * 100, `${backends} backends: ${size}`);
      for (let divisor = 2; divisor * divisor <= size; divisor++) assert.notEqual(size % divisor, 0, `${size} = ${divisor} · …`);
    }
    assert.equal(tableSize(0), 0);
    assert.equal(tableSize(65536), tableSize(1793));
  });

  for (const count of [2, 3, 7, 14, 50, 100, 225]) {
    test(`removing one of ${count} moves few slots of the others, and each has its share (6.1)`, () => {
      const names = pods(count).sort();
      const size = tableSize(count);
      const before = populate(names, size);
      const shares = new Array<number>(count).fill(0);
      for (const index of before) shares[index]!++;
      assert.ok(Math.max(...shares) - Math.min(...shares) <= 1, `shares from ${Math.min(...shares)} to ${Math.max(...shares)}`);
      for (const gone of [0, count >> 1, count - 1]) {
        const after = populate(names.toSpliced(gone, 1), size);
        const left = names.toSpliced(gone, 1);
        const moved = before.filter((index, slot) => index !== gone && names[index] !== left[after[slot]!]).length;
        assert.ok(moved / size < 0.05, `without ${names[gone]} ${moved} of ${size} slots of others moved`);
      }
    });
  }

  test('a node that learned the backends in another order has the same table (6.2)', () => {
    const words = { frontends: ['ClusterIP 10.96.0.1:80', 'NodePort 0.0.0.0:30080'] };
    const [one, other] = [agent(), agent()];
    one.sync(service('default/web', [{ ...words, backends: pods(5) }]));
    for (let i = 5; i > 0; i--) {
      other.sync(service('default/web', [{ ...words, backends: pods(5).slice(i - 1) }]));
    }
    assert.notDeepEqual([...one.maps.backends4.entries()], [...other.maps.backends4.entries()], 'their ids differ');
    assert.deepEqual(tableOf(one.maps, '10.96.0.1'), tableOf(other.maps, '10.96.0.1'));
  });

  test('equal backend sets share a table, ClusterIP alone has none (6.5)', () => {
    const { maps, sync } = agent();
    sync(
      service('default/a', [{ frontends: ['ClusterIP 10.96.0.1:80', 'ExternalIP 203.0.113.1:80'], backends: pods(3) }]),
      service('default/b', [{ frontends: ['ClusterIP 10.96.0.2:80', 'ExternalIP 203.0.113.2:80'], backends: pods(3).toReversed() }]),
      service('default/c', [{ frontends: ['ClusterIP 10.96.0.3:80'], backends: pods(3) }]),
    );
    const table = (address: string) => maps.frontends4.get(at(address))!.cluster_table;
    assert.deepEqual(table('203.0.113.1'), table('203.0.113.2'));
    assert.equal(table('203.0.113.1').count, tableSize(3));
    assert.deepEqual(table('10.96.0.3'), { first: 0, count: 0 });
  });
});

describe('ids', () => {
  const web = (backends: string[]) => service('default/web', [{ frontends: ['ClusterIP 10.96.0.1:80'], backends }]);

  test('a backend that comes back has its id and generation again; another one gets the id only after a rest, with the next generation', () => {
    const { maps, sync, wait } = agent({ slots: 1000, backends4: 3 });
    sync(web(['10.244.0.1:80', '10.244.0.2:80']));
    const first = maps.backends4.get(1)!;
    sync(web(['10.244.0.2:80']));
    assert.deepEqual(maps.backends4.get(1), { ...first, flags: 0 }, 'gone, and nobody else yet');
    sync(web(['10.244.0.1:80', '10.244.0.2:80']));
    assert.deepEqual(maps.backends4.get(1), first);
    sync(web(['10.244.0.2:80']));
    const refused = sync(web(['10.244.0.2:80', '10.244.0.3:80']));
    assert.deepEqual(
      refused.problems.map(({ object, reason }) => [object, reason]),
      [['Service default/web', 'CapacityExceeded']],
    );
    assert.equal(maps.frontends4.get(at('10.96.0.1'))!.cluster.count, 1, 'the version before serves on');
    wait(refused.retryAfterMs!);
    assert.deepEqual(sync(web(['10.244.0.2:80', '10.244.0.3:80'])).problems, []);
    const { address, generation } = maps.backends4.get(1)!;
    assert.deepEqual([address, generation], ['10.244.0.3', first.generation + 1]);
  });

  test('ids of the dead are respected after a restart', () => {
    const { maps, sync, restart } = agent();
    sync(web(['10.244.0.1:80', '10.244.0.2:80']));
    sync(web(['10.244.0.2:80']));
    restart();
    sync(web(['10.244.0.2:80', '10.244.0.9:80']));
    assert.equal(maps.backends4.get(1)!.flags, 0);
    assert.equal(maps.backends4.get(3)!.address, '10.244.0.9');
  });

  test('a Service port has one id for all its frontends, the same on every node and after every restart', () => {
    const words = { frontends: ['ClusterIP 10.96.0.1:80', 'NodePort 0.0.0.0:30080'], backends: pods(1) };
    const [one, other] = [agent(), agent()];
    one.sync(service('default/web', [words]));
    other.sync(service('default/other', [{ ...words, frontends: ['ClusterIP 10.96.0.9:80'] }]), service('default/web', [words]));
    const { id } = one.maps.frontends4.get(at('10.96.0.1'))!;
    assert.equal(one.maps.frontends4.get(at('0.0.0.0', 30080))!.id, id);
    assert.equal(other.maps.frontends4.get(at('10.96.0.1'))!.id, id);
    assert.equal(one.names().get(id), 'default/web:/TCP/4');
  });
});

describe('disputes (0.3, 3.8)', () => {
  const older = service(
    'z/older',
    [{ frontends: ['ClusterIP 10.96.0.1:80', 'ExternalIP 203.0.113.1:80'], backends: ['10.244.0.1:80'] }],
    1,
  );
  const younger = service(
    'a/younger',
    [{ frontends: ['ClusterIP 10.96.0.2:80', 'ExternalIP 203.0.113.1:80'], backends: ['10.244.0.2:80'] }],
    2,
  );
  const owner = (maps: Maps) => maps.backends4.get(maps.slots.get(maps.frontends4.get(at('203.0.113.1'))!.cluster.first))!.address;

  test('the older Service keeps a frontend, whoever came first; the other has it when the older is gone', () => {
    const { maps, sync } = agent();
    sync(younger);
    assert.equal(owner(maps), '10.244.0.2');
    const { problems } = sync(younger, older);
    assert.equal(owner(maps), '10.244.0.1');
    assert.deepEqual(
      problems.map(({ object, field, reason }) => [object, field, reason]),
      [['Service a/younger', 'spec.externalIPs', 'VIPConflict']],
    );
    assert.ok(maps.frontends4.get(at('10.96.0.2')), 'its other frontends are served');
    assert.deepEqual(sync(younger).problems, []);
    assert.equal(owner(maps), '10.244.0.2');
  });

  test('an older external address takes no ClusterIP from the Service that has it', () => {
    const grabber = service('z/grabber', [{ frontends: ['ExternalIP 10.96.0.9:80'], backends: ['10.244.0.1:80'] }], 1);
    const rightful = service('a/rightful', [{ frontends: ['ClusterIP 10.96.0.9:80'], backends: ['10.244.0.2:80'] }], 2);
    const { maps, sync } = agent();
    const { problems } = sync(grabber, rightful);
    const frontend = maps.frontends4.get(at('10.96.0.9'))!;
    assert.equal(maps.backends4.get(maps.slots.get(frontend.cluster.first))!.address, '10.244.0.2');
    assert.deepEqual(
      problems.map(({ object, reason }) => [object, reason]),
      [['Service z/grabber', 'VIPConflict']],
    );
  });

  test('two Services swap their addresses in one burst, and no moment is without a frontend', () => {
    const one = (address: string) => service('default/one', [{ frontends: [`ClusterIP ${address}:80`], backends: ['10.244.0.1:80'] }]);
    const two = (address: string) => service('default/two', [{ frontends: [`ClusterIP ${address}:80`], backends: ['10.244.0.2:80'] }]);
    const { maps, checked, sync } = agent();
    sync(one('10.96.0.1'), two('10.96.0.2'));
    const writes = checked.writes;
    sync(one('10.96.0.2'), two('10.96.0.1'));
    assert.equal(checked.writes - writes, 2, 'two frontends are overwritten and nothing else');
    assert.equal(maps.backends4.get(maps.slots.get(maps.frontends4.get(at('10.96.0.1'))!.cluster.first))!.address, '10.244.0.2');
  });
});

describe('entries', () => {
  test('flags follow the kind of the frontend', () => {
    const { maps, sync } = agent();
    const frontends = ['ClusterIP 10.96.0.1:80', 'NodePort 0.0.0.0:30080', 'ExternalIP 203.0.113.1:80', 'LoadBalancer 203.0.113.2:80'];
    const words = {
      frontends,
      backends: pods(1),
      externalLocal: true,
      affinitySeconds: 60,
      sourceRanges: ['198.51.100.0/24'],
      selfAllowed: true,
    };
    sync(service('default/web', [words]));
    const names = (address: string, port = 80) => {
      const { flags } = maps.frontends4.get(at(address, port))!;
      return Object.entries(FrontendFlag).flatMap(([name, bit]) => (flags & bit ? [name.slice('FRONTEND_'.length)] : []));
    };
    assert.deepEqual(names('10.96.0.1'), ['CLUSTER_IP', 'HAS_ENDPOINTS', 'AFFINITY']);
    assert.deepEqual(names('0.0.0.0', 30080), ['LOCAL', 'HAS_ENDPOINTS', 'AFFINITY', 'NODE_PORT']);
    assert.deepEqual(names('203.0.113.1'), ['LOCAL', 'HAS_ENDPOINTS', 'AFFINITY']);
    assert.deepEqual(names('203.0.113.2'), ['LOCAL', 'HAS_ENDPOINTS', 'AFFINITY', 'SOURCE_RANGES', 'SELF_ALLOWED']);
  });

  test('a backend serves if any Service says so, and is on this node if its address is', () => {
    const { maps, sync } = agent();
    sync(
      service('default/a', [{ frontends: ['ClusterIP 10.96.0.1:80'], backends: [], draining: ['gone 10.244.0.1:80'] }]),
      service('default/b', [{ frontends: ['ClusterIP 10.96.0.2:80'], backends: ['10.244.0.1:80', `${NODE.primaryAddresses[0]}:80`] }]),
    );
    const flags = new Map([...maps.backends4.entries()].map(([, entry]) => [entry.address, entry.flags]));
    assert.equal(flags.get('10.244.0.1'), BackendFlag.BACKEND_LIVE | BackendFlag.BACKEND_SERVING);
    const here = BackendFlag.BACKEND_LOCAL | BackendFlag.BACKEND_HOST;
    assert.equal(flags.get(NODE.primaryAddresses[0]!), BackendFlag.BACKEND_LIVE | BackendFlag.BACKEND_SERVING | here);
  });

  test('a Service of 5,000 ports is one Service', () => {
    const ports = Array.from({ length: 5000 }, (_, i) => ({
      name: `p${i}`,
      frontends: [`ClusterIP 10.96.0.1:${i + 1}`],
      backends: [`10.244.0.1:${i + 1}`],
    }));
    const maps = memoryMaps();
    const { problems } = sync(maps, adopt(maps), model([service('default/constructor', ports)]), OPTIONS);
    assert.deepEqual(problems, []);
    assert.equal([...maps.frontends4.entries()].length, 5000);
  });
});

describe('room', () => {
  test('a Service that does not fit is refused whole and named, the others are served, and it is when there is room', () => {
    const { maps, sync, wait } = agent({ slots: 100, frontends4: 3 });
    const small = service('default/small', [{ frontends: ['ClusterIP 10.96.0.1:80', 'ClusterIP 10.96.0.1:81'], backends: pods(1) }], 1);
    const big = service('default/big', [{ frontends: ['ClusterIP 10.96.0.2:80', 'ClusterIP 10.96.0.2:81'], backends: pods(2) }], 2);
    const last = service('default/last', [{ frontends: ['ClusterIP 10.96.0.3:80'], backends: pods(3) }], 3);
    const { problems } = sync(big, small, last);
    assert.equal(problems.length, 1);
    assert.equal(problems[0]!.object, 'Service default/big');
    assert.match(problems[0]!.message, /frontends4 \(3 entries\)/);
    assert.deepEqual([...maps.frontends4.entries()].map(([key]) => key.address).sort(), ['10.96.0.1', '10.96.0.1', '10.96.0.3']);
    wait(REST_MS);
    assert.deepEqual(sync(big, last).problems, []);
  });

  test('slots that are full refuse a table; what rests is waited for', () => {
    const { maps, sync, wait } = agent({ slots: tableSize(1) + 40 });
    const web = (count: number) => service('default/web', [{ frontends: ['NodePort 0.0.0.0:30080'], backends: pods(count) }]);
    sync(web(1));
    const refused = sync(web(2));
    assert.match(refused.problems[0]!.message, /slots \(741 entries\); it is not served until there is room/);
    wait(refused.retryAfterMs!);
    assert.deepEqual(sync(web(2)).problems, []);
    assert.equal(maps.frontends4.get(at('0.0.0.0', 30080))!.cluster.count, 2);
  });
});

describe('order of writes', () => {
  const before = service('default/web', [{ frontends: ['ClusterIP 10.96.0.1:80', 'NodePort 0.0.0.0:30080'], backends: pods(3) }]);
  const after = service('default/web', [{ frontends: ['ClusterIP 10.96.0.1:80'], backends: pods(6).slice(2) }]);

  function step(play: (changes: Changes) => Changes): void {
    const checked = checkedMaps({ slots: 10_000 }, () => 0, REST_MS);
    const state = adopt(checked.maps, () => 0);
    sync(checked.maps, state, model([before]), OPTIONS);
    const { held, plan }: { held: ReturnType<typeof readHeld>; plan: Plan } = state.known!;
    compile(model([after]), plan, OPTIONS, 0);
    apply(checked.maps, held, play(difference(held, plan)));
  }

  test('the order is safe after every write', () => step((changes) => changes));

  test('negative control: the reverse order is caught', () => {
    assert.throws(() => step((changes) => changes.toReversed()), /names backend|not there/);
  });

  test('negative control: a backend that is forgotten is caught', () => {
    const forget = (changes: Changes) => changes.filter((change) => !('write' in change && change.write === 'backends'));
    assert.throws(() => step(forget), /not there/);
  });

  test('after a refusal the next turn reads the maps and finishes', () => {
    const { checked, maps, sync } = agent();
    const fresh = agent();
    for (let refused = 0; refused < 12; refused++) {
      const last = checked.writes + refused;
      checked.refuse = () => checked.writes >= last;
      try {
        sync(refused % 2 === 0 ? before : after);
      } catch (error) {
        assert.ok(error instanceof KernelError);
      }
      checked.refuse = () => false;
    }
    sync(after);
    fresh.sync(after);
    assert.equal(meaning(maps), meaning(fresh.maps));
  });
});

test('a Plan opens over empty maps with nothing in it, whether they were read or are known to be empty', () => {
  const maps = memoryMaps();
  const contents = ({ entries, ...rest }: Held) => [
    rest,
    ...FAMILIES.flatMap((family) => Object.values(entries[family]).map((part) => [...part])),
  ];
  assert.deepEqual(contents(emptyHeld(maps)), contents(readHeld(maps)));
  for (const held of [emptyHeld(maps), readHeld(maps)]) assert.deepEqual(difference(held, openPlan(held, 0)), []);
});
