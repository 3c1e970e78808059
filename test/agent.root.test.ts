// The agent as an operator meets it, on a real kernel: it starts, says what it does, is alone on its node, leaves the kernel serving
// when it stops or is killed, takes over what it left, and goes without a trace.

import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Agent, agentArguments, pinnedMaps, startAgent } from './lib/agent.ts';
import { meaning } from './lib/meaning.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { plainLane } from './lib/topology.ts';

const MAIN = fileURLToPath(new URL('../control/main.ts', import.meta.url));
const FLOWS = fileURLToPath(new URL('flows/manifests', import.meta.url));

describe('agent on a node', () => {
  let lab: Lab;
  let manifests: string;
  let agent: Agent;
  before(async () => {
    lab = openLab(plainLane);
    manifests = join(lab.directory, 'manifests');
    cpSync(FLOWS, manifests, { recursive: true });
    agent = await startAgent(lab, 'nodeA', manifests);
  });
  after(() => lab?.close());

  /** The options that say where node A's state is. */
  const places = () => agentArguments(lab, 'nodeA').slice(0, 4);

  /** Runs a command on node A; what it says, and its exit code as a shell tells it. */
  async function told(...command: string[]): Promise<{ out: string; code: number }> {
    const out = await lab.run('nodeA', 'sh', ['-c', '"$@" 2>&1; echo "exit $?"', 'sh', ...command]);
    const [, text = '', code = ''] = /^([\s\S]*?)exit (\d+)\s*$/.exec(out) ?? [];
    return { out: text, code: Number(code) };
  }

  const sluice = (...words: string[]) => told(process.execPath, '--disable-warning=ExperimentalWarning', MAIN, ...words);

  it('status says what is attached where and why, and the socket is for root alone', async () => {
    const { out, code } = await sluice('status', ...places());
    assert.equal(code, 0, out);
    assert.match(out, /^agent +runs since/m);
    assert.match(out, /^node +node-a, zone zone-a, 172\.18\.0\.2, fd18::2$/m);
    assert.match(out, /^changes +none waits$/m);
    assert.match(out, /^eth0 +nic +(tcx|clsact) +has the default route/m);
    assert.match(out, /^veth-a1 +pod +(tcx|clsact) /m);
    assert.match(out, /^frontends4 +\d+ +131072 /m);
    assert.match(out, /Service lab\/empty .*NoEndpointSlices/);
    const socket = statSync(join(lab.directory, 'state-nodeA', 'agent.sock'));
    assert.deepEqual([socket.mode & 0o777, socket.uid], [0o600, 0]);
  });

  it('a second agent on the node refuses to start, and cleanup refuses while one runs', async () => {
    const second = await sluice('agent', '--manifests', manifests, '--hostname-override', 'node-a', ...agentArguments(lab, 'nodeA'));
    assert.equal(second.code, 5, second.out);
    assert.match(second.out, /another agent runs/);
    const cleanup = await sluice('cleanup', ...places());
    assert.equal(cleanup.code, 5, cleanup.out);
    assert.equal((await sluice('status', ...places())).code, 0);
  });

  it('follows the manifests', async () => {
    const seen = agent.lines.length;
    rmSync(join(manifests, 'policies.yaml'));
    await agent.said('applied', seen);
    const { out } = await sluice('dump', 'frontends', '--service', 'lab/local', '-o', 'json', ...places());
    assert.deepEqual(JSON.parse(out), []);
    const removed = agent.lines.length;
    cpSync(join(FLOWS, 'policies.yaml'), join(manifests, 'policies.yaml'));
    await agent.said('applied', removed);
  });

  it('stops cleanly: the exit code is 0, dump goes on, status says that nobody runs', async () => {
    const before = meaning(pinnedMaps(lab, 'nodeA'));
    await agent.end('SIGTERM');
    assert.match(JSON.stringify(agent.lines.at(-1)), /the kernel keeps serving/);
    assert.equal(meaning(pinnedMaps(lab, 'nodeA')), before);
    const dump = await sluice('dump', 'frontends', '--address', '10.96.0.10', ...places());
    assert.equal(dump.code, 0);
    assert.match(dump.out, /^10\.96\.0\.10:80 +TCP +lab\/web:stream +ClusterIP/m);
    const status = await sluice('status', ...places());
    assert.equal(status.code, 3);
    assert.match(status.out, /does not run; last heard of/);
    assert.match(status.out, /^links +8 at devices, 0 of XDP, 8 at the cgroup root$/m);
  });

  it('adopts what it left and finds nothing to write', async () => {
    agent = await startAgent(lab, 'nodeA', manifests);
    assert.ok(agent.lines.some((line) => line.adopted === true));
    assert.deepEqual(
      agent.lines.filter((line) => line.msg === 'applied'),
      [],
    );
  });

  it('killed in the middle of a change, the next one ends where the manifests are', async () => {
    writeFileSync(
      join(manifests, 'more.yaml'),
      Array.from({ length: 300 }, (_, i) =>
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Service',
          metadata: { namespace: 'lab', name: `more-${i}` },
          spec: { clusterIP: `10.96.9.${i % 250}`, ports: [{ port: 1000 + i }] },
        }),
      ).join('\n---\n'),
    );
    await agent.end('SIGKILL');
    agent = await startAgent(lab, 'nodeA', manifests);
    const { out } = await sluice('dump', 'frontends', '-o', 'json', ...places());
    const more = JSON.parse(out).filter((row: { service: string }) => row.service?.startsWith('lab/more-'));
    assert.equal(more.length, 300);
  });

  it('cleanup leaves nothing, also after a crash', async () => {
    await agent.end('SIGKILL');
    const { out, code } = await sluice('cleanup', ...places());
    assert.equal(code, 0, out);
    assert.equal(existsSync(lab.pinDirectory('nodeA')), false);
    assert.equal(existsSync(join(lab.directory, 'state-nodeA')), false);
    for (const device of ['eth0', 'veth-a1']) {
      assert.equal((await lab.run('nodeA', 'bpftool', ['net', 'show', 'dev', device])).includes('ingress'), false);
    }
    assert.deepEqual((await sluice('cleanup', ...places())).out, 'nothing of ours was here\n');
    assert.equal((await sluice('dump', ...places())).code, 6);
  });

  it('--init-only does once what needs more privilege, and --cleanup takes it back', async () => {
    const reserved = async () => (await told('sysctl', '-n', 'net.ipv4.ip_local_reserved_ports')).out.trim();
    for (const time of ['first', 'second']) {
      const init = await sluice('agent', '--init-only', '--snat-ports', '20000-20009', ...agentArguments(lab, 'nodeA'));
      assert.deepEqual([init.code, init.out], [0, 'reserved ports 20000-20009\n'], time);
      assert.equal(await reserved(), '20000-20009');
    }
    const undone = await sluice('agent', '--cleanup=true', ...agentArguments(lab, 'nodeA'));
    assert.equal(undone.code, 0, undone.out);
    assert.match(undone.out, /^removed reserved ports 20000-20009$/m);
    assert.equal(await reserved(), '');
    const elsewhere = await sluice('agent', '--init-only', ...agentArguments(lab, 'nodeA'), '--pin-directory', lab.directory);
    assert.equal(elsewhere.code, 4, elsewhere.out);
  });

  it('what is missing or wrong ends the start with one clear line each, before anything is touched', async () => {
    const wrong = await sluice('agent', '--manifests', join(lab.directory, 'nowhere'), ...agentArguments(lab, 'nodeA'));
    assert.equal(wrong.code, 2, wrong.out);
    assert.match(wrong.out, /^sluice: sluice\.manifests \(--manifests\): given ".*nowhere"; allowed: a directory/);
    const elsewhere = join(lab.directory, 'no-bpffs');
    mkdirSync(elsewhere);
    const words = ['agent', '--manifests', manifests, '--hostname-override', 'node-a', '--pin-directory', join(elsewhere, 'pins')];
    const missing = await sluice(...words, '--state-directory', join(elsewhere, 'state'), '--cgroup-root', elsewhere);
    assert.equal(missing.code, 4, missing.out);
    assert.match(missing.out, /is not on a bpffs/);
    assert.match(missing.out, /is not a directory of cgroup v2/);
    assert.deepEqual(readdirSync(elsewhere), []);
    const rightful = ['agent', '--manifests', manifests, '--hostname-override', 'node-a', ...agentArguments(lab, 'nodeA')];
    const powerless = await told('setpriv', '--bounding-set=-all', '--inh-caps=-all', process.execPath, MAIN, ...rightful);
    assert.equal(powerless.code, 4, powerless.out);
    assert.match(powerless.out, /^sluice: no CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON: run as root/m);
    assert.equal(existsSync(lab.pinDirectory('nodeA')), false);
  });
});
