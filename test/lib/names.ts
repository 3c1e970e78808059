// DNS of a cluster: the real CoreDNS as a pod behind the kube-dns ClusterIP, and what a pod's resolver makes of a name.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Cluster } from './cluster.ts';
import { type Component, startComponent } from './component.ts';
import { kubernetesIP, makeServiceAccount } from './control-plane.ts';
import type { PlaceName } from './places.ts';

const dnsIP = { 4: '10.96.0.10', 6: 'fd96::a' } as const;
const dnsLabels = { 'k8s-app': 'kube-dns' };
const account = 'kube-system/coredns';
const readyPort = 8181;

/** CoreDNS finds the API server as any pod does: by the ClusterIP of `kubernetes`. */
const corefile = (kubeconfig: string) => `.:53 {
  errors
  ready :${readyPort}
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    kubeconfig ${kubeconfig} lab
    ttl 0
  }
}
`;

export interface Dns {
  readonly coredns: Component;
  close(): Promise<void>;
}

/** Runs CoreDNS in a place and makes its Service; resolves when it has read the cluster. */
export async function startDns({ lab, plane, client, kubelet, settled }: Cluster, place: PlaceName): Promise<Dns> {
  const reads = (apiGroups: string[], resources: string[]) => ({ apiGroups, resources, verbs: ['list', 'watch'] });
  await makeServiceAccount(plane, account, [
    reads([''], ['services', 'pods', 'namespaces']),
    reads(['discovery.k8s.io'], ['endpointslices']),
  ]);
  const kubeconfig = await plane.kubeconfig(account, `https://${kubernetesIP[4]}:443`);
  const file = join(lab.directory, 'Corefile');
  writeFileSync(file, corefile(kubeconfig));
  const pod = 'kube-system/coredns';
  await client.create({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'kube-system', name: 'kube-dns', labels: dnsLabels },
    spec: {
      selector: dnsLabels,
      clusterIP: dnsIP[4],
      clusterIPs: [dnsIP[4], dnsIP[6]],
      ipFamilyPolicy: 'RequireDualStack',
      ports: [
        { name: 'dns', protocol: 'UDP', port: 53 },
        { name: 'dns-tcp', protocol: 'TCP', port: 53 },
      ],
    },
  });
  const coredns = startComponent(lab, place, 'coredns', ['-conf', file]);
  const dns: Dns = {
    coredns,
    async close() {
      await coredns.kill('SIGTERM');
      await kubelet.remove(pod);
      await client.delete('Service', 'kube-system/kube-dns');
    },
  };
  const readiness = `fetch('http://127.0.0.1:${readyPort}/ready').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))`;
  const isReady = () =>
    lab.run(place, process.execPath, ['--eval', readiness]).then(
      () => true,
      () => false,
    );
  try {
    const end = performance.now() + 10_000;
    while (!(await isReady())) {
      if (coredns.ended || performance.now() > end) throw new Error(`CoreDNS is not ready:\n${coredns.tail()}`);
      await pause(20);
    }
    await kubelet.run({ key: pod, place, labels: dnsLabels });
    while ((await client.list('EndpointSlice', 'kube-system', { labelSelector: 'kubernetes.io/service-name=kube-dns' })).length < 2)
      await pause(20);
    await settled();
    return dns;
  } catch (error) {
    await dns.close();
    throw error;
  }
}

/** What a process in a pod asks its resolver: addresses (getaddrinfo), a CNAME, a name of an address, or a connection by name and who answers it. */
export type NameQuestion =
  | { readonly what: 'addresses' | 'cname' | 'srv' | 'reverse'; readonly name: string }
  | { readonly what: 'connect'; readonly name: string; readonly port: number };

const asking = `
  import dns from 'node:dns/promises';
  import net from 'node:net';
  const connect = (host, port) => new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, timeout: 3000 }, () => socket.write('q\\n'));
    socket.once('data', (data) => { resolve(String(data).split(' ')[1]); socket.destroy(); });
    socket.once('error', reject).once('timeout', () => reject(new Error('no answer')));
  });
  const ask = {
    addresses: async ({ name }) => (await dns.lookup(name, { all: true, order: 'ipv4first' })).map(({ address }) => address).sort(),
    cname: ({ name }) => dns.resolveCname(name),
    srv: async ({ name }) => (await dns.resolveSrv(name)).map(({ name, port }) => name + ':' + port).sort(),
    reverse: ({ name }) => dns.reverse(name),
    connect: async ({ name, port }) => [await connect(name, port)],
  };
  const answer = (question) => ask[question.what](question).catch(({ code, message }) => [code ?? message]);
  console.log(JSON.stringify(await Promise.all(JSON.parse(process.argv[1]).map(answer))));`;

export interface Resolver {
  readonly namespace: string;
  readonly nameserver: 4 | 6;
  /** DNS over TCP (resolv.conf: use-vc). */
  readonly tcp?: boolean;
}

/** Asks as a pod of a namespace does, whose resolv.conf the kubelet wrote; each answer is a list, or the error's code alone. */
export async function askNames(
  { lab }: Cluster,
  from: PlaceName,
  resolver: Resolver,
  questions: readonly NameQuestion[],
): Promise<string[][]> {
  const { namespace, nameserver, tcp = false } = resolver;
  const file = join(lab.directory, `resolv.conf-${nameserver}${tcp ? '-tcp' : ''}`);
  const search = [`${namespace}.svc.cluster.local`, 'svc.cluster.local', 'cluster.local'].join(' ');
  writeFileSync(file, `nameserver ${dnsIP[nameserver]}\nsearch ${search}\noptions ndots:5 timeout:1${tcp ? ' use-vc' : ''}\n`);
  const enter = 'mount --bind "$0" "$(readlink -f /etc/resolv.conf)" && exec "$@"';
  const script = [process.execPath, '--input-type=module', '--eval', asking, '--', JSON.stringify(questions)];
  return JSON.parse(await lab.run(from, 'unshare', ['--mount', 'sh', '-c', enter, file, ...script]));
}
