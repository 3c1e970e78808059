// The API server's source against the real one: what is only believed of it in kube.test.ts is asked here, and every way to lose it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, afterEach, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { AgentStatus } from '../control/agent/status.ts';
import { socketPath } from '../control/observe/paths.ts';
import { ask } from '../control/observe/protocol.ts';
import { agentArguments, pinnedMaps, watchAgent } from './lib/agent.ts';
import { type ControlPlane, makeServiceAccount, startControlPlane } from './lib/control-plane.ts';
import type { FollowerAnswer, FollowerOptions } from './lib/kube-follower.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { type Raw, service, slice } from './lib/objects.ts';
import { until } from './lib/sandbox.ts';
import { plainLane } from './lib/topology.ts';

const FOLLOWER = fileURLToPath(new URL('lib/kube-follower.ts', import.meta.url));
const MAIN = fileURLToPath(new URL('../control/main.ts', import.meta.url));
const ACCOUNT = 'kube-system/follower';
const RULES = [
  { apiGroups: [''], resources: ['services', 'nodes'], verbs: ['list', 'watch'] },
  { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
  { apiGroups: ['networking.k8s.io'], resources: ['servicecidrs'], verbs: ['list', 'watch'] },
];
const MANY = 50;

interface Follower {
  ask(): Promise<FollowerAnswer>;
  pause(): void;
  resume(): void;
  end(): void;
}

let lab: Lab;
let plane: ControlPlane;
let kubeconfig: string;
const followers: Follower[] = [];

function resourceOf(answer: FollowerAnswer, name: string) {
  return answer.status.resources.find(({ resource }) => resource === name)!;
}

function follow(more: Partial<FollowerOptions> = {}): Follower {
  const options: FollowerOptions = { kubeconfig, nodeName: 'node-a', ...more };
  const words = ['--disable-warning=ExperimentalWarning', FOLLOWER, JSON.stringify(options)];
  const child = lab.start('nodeA', process.execPath, words, { channel: true });
  const gone = once(child, 'exit').then(() => {
    throw new Error('the follower ended; what it said is above');
  });
  gone.catch(() => {});
  const follower: Follower = {
    async ask() {
      const answer = once(child, 'message');
      child.send('what do you know?');
      const [message] = await Promise.race([answer, gone]);
      return message as FollowerAnswer;
    },
    pause: () => child.kill('SIGSTOP'),
    resume: () => child.kill('SIGCONT'),
    end: () => child.kill('SIGKILL'),
  };
  followers.push(follower);
  return follower;
}

async function becomes(follower: Follower, what: string, holds: (answer: FollowerAnswer) => boolean): Promise<FollowerAnswer> {
  let last: FollowerAnswer | undefined;
  const look = async () => {
    last = await follower.ask();
    return holds(last);
  };
  await until(what, look).catch((error: Error) => {
    throw new Error(`${error.message}: ${JSON.stringify({ ...last, services: last?.services.length, endpoints: undefined })}`);
  });
  return last!;
}

const synced = (follower: Follower): Promise<FollowerAnswer> => becomes(follower, 'the first sync', (answer) => answer.synced);

let changes = 0;
/** Changes something and waits until the follower knows it. */
async function learns(follower: Follower): Promise<FollowerAnswer> {
  const name = `new-${changes++}`;
  await plane.client.create({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'default', name },
    spec: { ports: [{ port: 80 }] },
  });
  return becomes(follower, `the Service ${name}`, ({ services }) => services.includes(`default/${name}`));
}

/** A cluster of many Services, with some that are none of ours. */
async function openPlane(...apiServerFlags: string[]): Promise<void> {
  lab = openLab(plainLane);
  plane = await startControlPlane(lab, { controllers: 'none', apiServerFlags });
  await makeServiceAccount(plane, ACCOUNT, RULES);
  kubeconfig = await plane.kubeconfig(ACCOUNT);
  const create = (name: string, spec: Raw = {}, more: { metadata?: Raw } = {}) =>
    plane.client.create(service(name, { clusterIP: undefined, ...spec }, more));
  for (let i = 0; i < MANY; i++) {
    await create(`web-${i}`);
    await plane.client.create(slice(`web-${i}`, `web-${i}`, [`10.244.1.${i + 1}`]));
  }
  await create('headless', { clusterIP: 'None' });
  await create('other', {}, { metadata: { labels: { 'service.kubernetes.io/service-proxy-name': 'other' } } });
  for (const name of ['node-a', 'node-b']) await plane.client.create({ apiVersion: 'v1', kind: 'Node', metadata: { name } });
}

async function closePlane(): Promise<void> {
  await plane?.close();
  lab?.close();
}

afterEach(() => {
  for (const follower of followers.splice(0)) follower.end();
});

describe('the API server as it is', () => {
  before(() => openPlane());
  after(closePlane);

  describe('reading everything', () => {
    it('by watch list: every Service and slice that is ours, the own node, the ServiceCIDRs', async () => {
      const follower = follow();
      const answer = await synced(follower);
      const services = ['default/kubernetes', ...Array.from({ length: MANY }, (_, i) => `default/web-${i}`)].sort();
      assert.deepEqual([...answer.services].sort(), services);
      assert.deepEqual(answer.endpoints['default/web-7'], ['10.244.1.8']);
      assert.deepEqual(answer.nodes, ['node-a']);
      assert.deepEqual(answer.serviceCIDRs, ['10.96.0.0/16', 'fd96::/112']);
      assert.deepEqual(answer.problems, []);
      for (const { how, errors, resource } of answer.status.resources) assert.deepEqual([how, errors], ['watch list', 0], resource);
      await learns(follower);
    });

    it('a Service that gets another proxy’s label goes, and comes back without it (1.2)', async () => {
      const follower = follow();
      await synced(follower);
      const label = (value: string | null) =>
        plane.client.patch('Service', 'default/web-1', { metadata: { labels: { 'service.kubernetes.io/service-proxy-name': value } } });
      await label('other');
      await becomes(follower, 'its going', ({ services }) => !services.includes('default/web-1'));
      await label(null);
      await becomes(follower, 'its return', ({ services }) => services.includes('default/web-1'));
    });

    it('a slice with impossible ports beside many good ones costs those ports (1.5)', async () => {
      const ports = [
        { name: 'a', port: 70000 },
        { name: 'b', port: -1 },
        { name: '', port: 8080 },
      ];
      await plane.client.create(slice('web-3', 'web-3-odd', ['10.244.9.9'], { ports }));
      const follower = follow();
      const answer = await synced(follower);
      assert.deepEqual(answer.sliceProblems, ['InvalidPort', 'InvalidPort']);
      assert.deepEqual(answer.endpoints['default/web-3'], ['10.244.1.4', '10.244.9.9']);
      assert.equal(Object.keys(answer.endpoints).filter((key) => key.startsWith('default/web-')).length, MANY);
    });

    it('the server ends a watch when it was asked to, and the next one goes on from there', async () => {
      const follower = follow({ timings: { watch: 2_000 } });
      await synced(follower);
      const again = await becomes(follower, 'a second watch', (answer) => resourceOf(answer, 'services').reconnects > 0);
      assert.deepEqual([resourceOf(again, 'services').relists, resourceOf(again, 'services').errors], [0, 0]);
      await learns(follower);
    });
  });

  describe('losing the API server', () => {
    it('history compacted under a watch that was broken off: 410, and everything is read again', async () => {
      const follower = follow();
      await synced(follower);
      const again = async () => {
        await plane.apiServer.kill('SIGKILL');
        plane.apiServer.start();
        await plane.ready();
      };
      // It hears nothing while things change and the history goes, out of the server's memory and out of etcd.
      follower.pause();
      await again();
      await plane.client.delete('Service', 'default/web-2');
      await plane.client.create(service('unheard', { clusterIP: undefined }));
      await again();
      await plane.compact();
      follower.resume();
      const answer = await becomes(follower, 'what was not heard', ({ services }) => services.includes('default/unheard'));
      assert.equal(answer.services.includes('default/web-2'), false);
      assert.equal(resourceOf(answer, 'services').relists, 1);
      await learns(follower);
    });

    it('killed: what is known stays and one Problem says so; back again: it is followed on', async () => {
      const follower = follow();
      const before = await synced(follower);
      await plane.apiServer.kill('SIGKILL');
      const during = await becomes(follower, 'the Problem', ({ problems }) => problems.length > 0);
      assert.deepEqual(during.problems, ['ApiServerUnreachable']);
      assert.deepEqual([during.synced, during.services], [true, before.services]);
      plane.apiServer.start();
      await plane.ready();
      await learns(follower);
      await becomes(follower, 'the end of the Problem', ({ problems }) => problems.length === 0);
    });

    it('dead at the start: it is waited for', async () => {
      await plane.apiServer.kill('SIGKILL');
      const follower = follow();
      const during = await becomes(follower, 'the Problem', ({ problems }) => problems.length > 0);
      assert.deepEqual([during.synced, during.problems], [false, ['ApiServerUnreachable']]);
      plane.apiServer.start();
      await synced(follower);
    });

    it('dead when an agent starts again: what is pinned serves on, one line says why, and the rest follows when it is back (12.5)', async () => {
      const start = () => {
        const words = ['agent', '--kubeconfig', kubeconfig, '--hostname-override', 'node-a', ...agentArguments(lab, 'nodeA')];
        return lab.start('nodeA', process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...words]);
      };
      const status = async () => (await ask(socketPath(join(lab.directory, 'state-nodeA')), { ask: 'status' })) as AgentStatus | undefined;
      const frontends = () => [...pinnedMaps(lab, 'nodeA').frontends4.entries()].map(([key]) => `${key.address}:${key.port}`).sort();

      const first = await watchAgent(start());
      const pinned = frontends();
      assert.ok(pinned.length > MANY && pinned.includes('10.96.0.1:443'), String(pinned.length));
      await first.end('SIGKILL');
      await plane.apiServer.kill('SIGKILL');

      const child = start();
      const second = watchAgent(child);
      second.catch(() => {});
      let told = 0;
      createInterface({ input: child.stderr! }).on('line', (line) => {
        if (line.includes('"reason":"ApiServerUnreachable"') && line.includes('"level":"warn"')) told++;
      });
      await until('three attempts', async () => {
        const now = await status();
        return (now?.source.apiServer?.resources ?? []).some(({ errors }) => errors >= 3);
      });
      const waiting = await status();
      assert.equal(waiting?.source.synced, false);
      assert.deepEqual(
        waiting?.problems.map(({ reason }) => reason),
        ['ApiServerUnreachable'],
      );
      assert.deepEqual([frontends(), told], [pinned, 1]);

      plane.apiServer.start();
      const agent = await second;
      assert.deepEqual(frontends(), pinned);
      await agent.end('SIGTERM');
    });

    it('reached by an address that the agent itself serves: it works, and a Problem says that a start without maps would not (14.7)', async () => {
      const words = ['agent', '--kubeconfig', kubeconfig, '--hostname-override', 'node-a', ...agentArguments(lab, 'nodeA')];
      const start = (...more: string[]) =>
        watchAgent(lab.start('nodeA', process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...words, ...more]));
      const first = await start();
      await first.end('SIGKILL');
      const second = await start('--api-server', 'https://10.96.0.1:443');
      const problem = second.lines.find(({ reason }) => reason === 'ApiServerThroughUs');
      assert.match(problem?.msg ?? 'no Problem', /^the API server is reached by https:\/\/10\.96\.0\.1, which this agent serves itself/);
      assert.equal(
        first.lines.some(({ reason }) => reason === 'ApiServerThroughUs'),
        false,
      );
      await second.end('SIGTERM');
    });

    it('etcd restarted: the watches go on', async () => {
      const follower = follow();
      const before = await synced(follower);
      await plane.etcd.kill('SIGKILL');
      plane.etcd.start();
      await plane.ready();
      const after = await learns(follower);
      assert.ok(before.services.every((name) => after.services.includes(name)));
    });

    it('frozen: its connections are half open and new ones unanswered; it is told, and found again', async () => {
      const follower = follow({ timings: { silence: 2_000 } });
      const before = await synced(follower);
      plane.apiServer.pause();
      try {
        const during = await becomes(follower, 'the Problem', ({ problems }) => problems.includes('ApiServerUnreachable'));
        assert.deepEqual(during.services, before.services);
      } finally {
        plane.apiServer.resume();
      }
      await learns(follower);
    });

    it('frozen, with another address beside: the other goes on', async () => {
      // Nobody listens there: the first address of the two never answers.
      const follower = follow({ servers: ['https://172.18.0.250:6443', plane.server] });
      const answer = await synced(follower);
      assert.equal(answer.status.server, plane.server);
    });
  });
});

describe('an API server without watch lists', () => {
  before(() => openPlane('--feature-gates=WatchList=false'));
  after(closePlane);

  it('is listed and watched', async () => {
    const follower = follow();
    const answer = await synced(follower);
    for (const { how, errors, resource } of answer.status.resources) assert.deepEqual([how, errors], ['list', 0], resource);
    assert.equal(answer.services.length, MANY + 1);
    await learns(follower);
  });
});
