// The image without a registry: its tree is what the Containerfile copies, and the agent serves in it as deploy/ runs it, chrooted under a root
// nobody can write, with the DaemonSet's capabilities and mounts and nothing else.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { parse, stringify } from 'yaml';
import { EXITS } from '../control/cli/exits.ts';
import { findCgroupRoot } from '../control/kernel/cgroup.ts';
import { watchAgent } from './lib/agent.ts';
import {
  agentContainer,
  type ContainerSpec,
  deployed,
  givenCapabilities,
  imageRoot,
  signalContainer,
  startContainer,
} from './lib/container.ts';
import { parseDestination, wordsOf } from './lib/flow.ts';
import { foreignRules, kubeProxyRules } from './lib/kube-proxy-rules.ts';
import { cgroupRoot, type Lab, openLab } from './lib/netns.ts';
import { families, nodeObjects, places } from './lib/places.ts';
import { until } from './lib/sandbox.ts';
import { plainLane } from './lib/topology.ts';
import { ask, serveAll } from './lib/wire.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FLOWS = join(ROOT, 'test/flows/manifests');
const containerfile = readFileSync(join(ROOT, 'deploy/image/Containerfile'), 'utf8');

describe('image', () => {
  before(() => execa('make', ['-s', 'image-root'], { cwd: ROOT }));

  it('is the tree of make image-root and nothing besides', () => {
    const stages = containerfile.split(/^(?=FROM )/m).filter((stage) => stage.startsWith('FROM '));
    assert.equal(stages.length, 2);
    assert.match(stages[0]!, /^RUN make image-root$/m);
    const [from, ...last] = stages[1]!.trim().split('\n');
    assert.equal(from, 'FROM scratch');
    assert.deepEqual(last, ['COPY --from=build /src/build/image-root /', `ENTRYPOINT ${JSON.stringify(agentContainer().command)}`]);
  });

  it('gives Node the flags that bin/sluice gives it', () => {
    const flags = readFileSync(join(ROOT, 'bin/sluice'), 'utf8').match(/--(?!disable-warning)[a-z-]+=\d+/g);
    assert.deepEqual(agentContainer().command, ['/usr/bin/node', ...flags!, '/usr/bin/sluice']);
  });

  it('has a Node, our files, the nft variant of iptables and their libraries, and no shell, compiler or package manager', () => {
    const files = globSync('**', { cwd: imageRoot, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name).slice(imageRoot.length));
    const expected = [
      /^\/usr\/bin\/(node|sluice)$/,
      /^\/opt\/sluice\/(README\.md|package\.json|build\/(LICENSES|sluice\.(js|node)|bpf\/(probe|sock|tc|xdp)\.o))$/,
      /^\/usr\/sbin\/(xtables-nft-multi|ip6?tables-nft-(save|restore))$/,
      /^\/usr\/lib\/[^/]+-linux-gnu\/xtables\/lib(xt|ipt|ip6t)_\w+\.so$/,
      /^\/usr\/lib(64)?\/([^/]+-linux-gnu\/)?(lib[a-z_+]+|ld-linux-[a-z0-9-]+)\.so\.\d+$/,
      /^\/usr\/share\/doc\/[^/]+\/(copyright|LICENSE)$/,
      /^\/etc\/(passwd|group)$/,
      /^\/(lib|lib64|var\/run)$/,
    ];
    assert.deepEqual(
      files.filter((file) => !expected.some((pattern) => pattern.test(file))),
      [],
    );
    for (const owner of ['libc6', 'iptables', 'libxtables12']) assert(existsSync(join(imageRoot, `usr/share/doc/${owner}/copyright`)));
  });

  describe('as deploy/ runs it', () => {
    let lab: Lab;
    let volumes: Record<string, string>;
    const environment = { NODE_NAME: nodeObjects.nodeA };
    const running: ChildProcess[] = [];
    before(async () => {
      lab = openLab(plainLane);
      const manifests = join(lab.directory, 'config/manifests');
      cpSync(FLOWS, manifests, { recursive: true });
      // Of deploy/'s configuration, except for where the objects come from and where this node's cgroups are.
      const config = parse(readFileSync(join(ROOT, 'deploy/config.yaml'), 'utf8'));
      config.sluice = { manifests: '/etc/sluice/manifests', cgroupRoot: '/host/sys/fs/cgroup' };
      writeFileSync(join(lab.directory, 'config/config.yaml'), stringify(config));
      mkdirSync(join(lab.directory, 'run'));
      volumes = {
        config: join(lab.directory, 'config'),
        bpf: join(lab.directory, 'bpf'),
        run: join(lab.directory, 'run'),
        cgroup: lab.cgroup('nodeA'),
      };
      await serveAll(lab);
    });
    after(() => lab?.close());

    async function start(capabilities: readonly string[] = givenCapabilities()): Promise<ChildProcess> {
      const child = await startContainer(lab, 'nodeA', { volumes, environment, capabilities });
      running.push(child);
      return child;
    }

    const asked = families.flatMap((family) =>
      (['tcp', 'udp'] as const).flatMap((protocol) => {
        const { clusterIP, nodePort } = wordsOf(family, protocol);
        return [
          { from: 'clientA' as const, ...parseDestination(clusterIP('web')) },
          { from: 'nodeA' as const, ...parseDestination(clusterIP('web')) },
          { from: 'outside' as const, ...parseDestination(nodePort('web')) },
        ];
      }),
    );

    /** What another process of the container says and ends with, as by kubectl exec. */
    async function told(mounted: typeof volumes, ...command: string[]): Promise<{ out: string; code: number }> {
      const child = await startContainer(lab, 'nodeA', { volumes: mounted, environment, command });
      let out = '';
      for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (text) => (out += text));
      const [code] = (await once(child, 'close')) as [number];
      return { out, code };
    }

    /** The HTTP status of the agent's answer to its kubelet. */
    async function answerTo({ port, path }: { port: number; path: string }): Promise<number> {
      const url = `http://${places.nodeA[4]}:${port}${path}`;
      return Number(await lab.run('nodeA', process.execPath, ['--print', `fetch('${url}').then(({ status }) => console.log(status)), ''`]));
    }

    async function end(child: ChildProcess): Promise<void> {
      const gone = once(child, 'exit');
      signalContainer(child, 'SIGTERM');
      assert.deepEqual(await gone, [0, null]);
    }

    it('the root cannot be written, the capabilities are those given, and no other can be had', async () => {
      const program = `
        const { readFileSync, writeFileSync } = require('node:fs');
        const status = readFileSync('/proc/self/status', 'utf8');
        const refused = ['/x', '/opt/sluice/x', '/proc/sys/net/ipv4/ip_forward', '/sys/fs/x', '/etc/sluice/x'].map((path) => {
          try { writeFileSync(path, '1\\n'); return 'written'; } catch (error) { return error.code; }
        });
        console.log(JSON.stringify({
          refused, user: process.getuid(), pid: process.pid,
          ...Object.fromEntries(['CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs'].map((name) => [name, new RegExp(name + ':\\\\s*(\\\\S+)').exec(status)[1]])),
        }));`;
      const { out, code } = await told(volumes, '/usr/bin/node', '-e', program);
      assert.equal(code, 0, out);
      const { refused, CapEff, ...rest } = JSON.parse(out);
      assert.deepEqual(
        refused,
        ['EROFS', 'EROFS', 'EROFS', 'EROFS', 'EROFS'].map((text, index) => (index === 3 ? refused[3] : text)),
      );
      assert.notEqual(refused[3], 'written');
      const names = async (bits: string) => (await execa('capsh', [`--decode=${bits}`])).stdout.split('=')[1]!.split(',');
      // A machine in a sandbox may lack one itself, and can give it to nobody.
      const machine = await names(/^CapBnd:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]!);
      const given = givenCapabilities().map((name) => `cap_${name.toLowerCase()}`);
      assert.deepEqual((await names(CapEff)).sort(), given.filter((name) => machine.includes(name)).sort());
      assert.deepEqual(rest, { user: 0, pid: 1, CapPrm: CapEff, CapBnd: CapEff, CapAmb: '0'.repeat(16), NoNewPrivs: '1' });
    });

    it('finds the root of the node’s cgroups, which is not its own', async () => {
      const program = `
        const { existsSync, readFileSync } = require('node:fs');
        const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
        const paths = mounts.split('\\n').flatMap((line) => line.split(' ')[4] ?? []);
        const roots = paths.filter((path) => existsSync(path + '/cgroup.procs') && !existsSync(path + '/cgroup.type'));
        console.log(JSON.stringify({ mounts, roots }));`;
      const { out, code } = await told({ ...volumes, cgroup: '/sys/fs/cgroup' }, '/usr/bin/node', '-e', program);
      assert.equal(code, 0, out);
      const { mounts, roots } = JSON.parse(out) as { mounts: string; roots: string[] };
      assert.equal(
        findCgroupRoot(mounts, (path) => roots.includes(path)),
        cgroupRoot().replace(/^\/sys/, '/host/sys'),
      );
    });

    it('serves pods, the node and clients outside, stops when told, and takes over what it left', async () => {
      for (const round of ['maps made', 'maps adopted']) {
        const child = await start();
        const agent = await watchAgent(child);
        assert(
          agent.lines.some(({ msg }) => msg === round),
          JSON.stringify(agent.lines),
        );
        for (const { from, address, port, protocol } of asked) {
          const [answer] = await ask(lab, from, protocol, address, port);
          assert.equal(answer?.error, undefined, `${from} → ${address} port ${port} ${protocol}: ${answer?.error}`);
        }
        const status = await told(volumes, '/usr/bin/sluice', 'status');
        assert.equal(status.code, 0, status.out);
        assert.match(status.out, /^node +node-a, /m);
        assert.match(status.out, /^eth0 +nic +(tcx|clsact) /m);
        assert.equal((await told(volumes, '/usr/bin/sluice', 'dump', 'frontends')).code, 0);
        const check = await told(volumes, '/usr/bin/sluice', 'check', '--config', '/etc/sluice/config.yaml');
        assert.equal(check.code, 0, check.out);
        const { startupProbe, livenessProbe, readinessProbe } = agentContainer();
        for (const probe of [startupProbe, livenessProbe, readinessProbe]) assert.equal(await answerTo(probe!.httpGet), 200);
        const reserved = await lab.run('nodeA', 'cat', ['/proc/sys/net/ipv4/ip_local_reserved_ports']);
        assert.equal(reserved, '16384-29999');
        assert.deepEqual(
          agent.lines.filter(({ level }) => level === 'error' || level === 'fatal'),
          [],
        );
        await end(child);
      }
    });

    it('what it leaves on the node is root’s alone', () => {
      assert.deepEqual(statSync(join(lab.directory, 'bpf/sluice')).mode & 0o777, 0o700);
      assert.deepEqual(statSync(join(lab.directory, 'run/ledger.json')).mode & 0o077, 0);
    });

    for (const capability of givenCapabilities().filter((name) => name !== 'SYS_RESOURCE'))
      it(`without ${capability} it says so and touches nothing`, async () => {
        const child = await start(givenCapabilities().filter((name) => name !== capability));
        let said = '';
        child.stderr!.on('data', (text) => (said += text));
        const [code] = (await once(child, 'close')) as [number];
        assert.equal(code, EXITS.precondition.code, said);
        assert.match(said, new RegExp(`no CAP_${capability}: `));
      });

    /** What a tool of iptables says on the node, outside of any container, given this. */
    const iptables = (tool: string, input = '') => lab.run('nodeA', 'sh', ['-c', 'printf %s "$1" | "$0"', tool, input]);
    const tools = families.map((family) => ({ family, tool: family === 4 ? 'iptables-nft' : 'ip6tables-nft' }));

    it('takes over from kube-proxy in iptables, by its own tools: kube-proxy’s rules go, all others stay', async () => {
      for (const { family, tool } of tools) await iptables(`${tool}-restore`, kubeProxyRules(family));
      const listen = "require('node:net').createServer().listen(10256, () => console.log('it has the port'))";
      const holder = lab.start('nodeA', process.execPath, ['--eval', listen]);
      await once(holder.stdout!, 'data');
      const child = await start();
      await watchAgent(child);
      assert.match((await told(volumes, '/usr/bin/sluice', 'status')).out, /^kube-proxy +rules of its mode .*iptables/m);
      const cleanup = (...words: string[]) => told(volumes, '/usr/bin/sluice', 'cleanup', '--kube-proxy', ...words);
      // A process of another container cannot be seen; that it has the port of the health server can.
      const refused = await cleanup();
      assert.equal(refused.code, 1, refused.out);
      assert.match(refused.out, /kube-proxy may still run.*0\.0\.0\.0:10256 cannot be listened on.*Nothing was removed/);
      holder.kill();
      await until('the agent has its port', async () => /the grace period is not over/.test((await cleanup()).out));

      const { out, code } = await cleanup('--force');
      assert.equal(code, 0, out);
      assert.doesNotMatch(out, /left/);
      for (const { family, tool } of tools) {
        assert.match(out, new RegExp(`^removed ${tool} chain nat KUBE-SERVICES$`, 'm'));
        const saved = await iptables(`${tool}-save`);
        assert.deepEqual(
          saved.split('\n').filter((line) => line.startsWith('-A ')),
          foreignRules(family),
        );
        assert.deepEqual(saved.match(/(?<=^:)KUBE-\S+/gm), ['KUBE-FIREWALL', 'KUBE-KUBELET-CANARY']);
      }
      assert.match((await cleanup()).out, /^no rules of kube-proxy are here$/m);
      await end(child);
    });

    it('says what to do about rules of the legacy variant, which it has no tools for', async (t) => {
      try {
        await iptables('iptables-legacy-restore', '*nat\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n');
      } catch (error) {
        if (!/unable to initialize table/.test(String(error))) throw error;
        return t.skip('iptables-legacy: this kernel has no ip_tables');
      }
      const { out, code } = await told(volumes, '/usr/bin/sluice', 'cleanup', '--kube-proxy', '--force');
      assert.equal(code, 0, out);
      assert.match(
        out,
        /^left the chains of iptables-legacy: iptables-legacy-save and ip6tables-legacy-save are not installed here\. On the node/m,
      );
      assert.match(out, /"kube-proxy --cleanup".*"sluice cleanup --kube-proxy"/);
      await iptables('iptables-legacy-restore', '*nat\nCOMMIT\n');
    });

    it('leaves the node as it was, cleaned up as deploy/cleanup does', async () => {
      const child = await startContainer(lab, 'nodeA', { file: 'cleanup/daemonset.yaml', volumes, environment: {} });
      let said = '';
      child.stderr!.on('data', (text) => (said += text));
      assert.deepEqual(await once(child, 'close'), [0, null], said);
      assert(!existsSync(join(lab.directory, 'bpf/sluice')));
      assert.equal(await lab.run('nodeA', 'cat', ['/proc/sys/net/ipv4/ip_local_reserved_ports']), '');
    });

    it('leaves the node to kube-proxy as deploy/drain does: not without its rules, and then for so long', async () => {
      const child = await start();
      await watchAgent(child);
      await end(child);
      const [patch] = deployed('drain/daemonset.yaml') as unknown as {
        spec: { template: { spec: { initContainers: ContainerSpec[] } } };
      }[];
      const { command, securityContext } = patch!.spec.template.spec.initContainers[0]!;
      const drain = async (...words: readonly string[]) => {
        const capabilities = securityContext.capabilities.add;
        const options = { file: 'cleanup/daemonset.yaml', volumes, environment: {}, capabilities, command: words };
        const draining = await startContainer(lab, 'nodeA', options);
        let said = '';
        draining.stderr!.on('data', (text) => (said += text));
        const [code] = (await once(draining, 'close')) as [number];
        return { code, said };
      };
      const refused = await drain(...command);
      assert.equal(refused.code, 1, refused.said);
      assert.match(refused.said, /no rules of kube-proxy are here.*Nothing was changed/);
      assert(existsSync(join(lab.directory, 'bpf/sluice')));

      for (const { family, tool } of tools) await iptables(`${tool}-restore`, kubeProxyRules(family));
      const drained = await drain(...command);
      assert.equal(drained.code, 0, drained.said);
      assert.match(drained.said, /new connections are left to others[\s\S]*the last connection has ended/);
      assert(!existsSync(join(lab.directory, 'bpf/sluice')));
    });
  });
});
