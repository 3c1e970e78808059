// Rules as kube-proxy 1.35 writes them in iptables mode: each match and each target that it uses, in every table, between rules that are
// not its own.

import { type Family, networks } from './places.ts';

/** What stays, as iptables-save prints it: of a CNI, a kubelet and an operator. */
export function foreignRules(family: Family): string[] {
  return [
    '-A INPUT -j KUBE-FIREWALL',
    '-A INPUT -p tcp -m tcp --dport 22 -m comment --comment "of an operator" -j ACCEPT',
    '-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP',
    `-A POSTROUTING -s ${networks.pods[family]} -m comment --comment "of a CNI" -j MASQUERADE`,
  ];
}

/** Text for iptables-restore. */
export function kubeProxyRules(family: Family): string {
  const four = family === 4;
  const host = (last: string) => (four ? `10.96.9.${last}/32` : `fd96:9::${last}/128`);
  const pod = four ? '10.1.1.9' : 'fd01:1::9';
  const target = four ? `${pod}:8080` : `[${pod}]:8080`;
  const [operators, firewall, marked, masquerade] = foreignRules(family);
  const jump = (chain: string, text: string, to: string) =>
    `-A ${chain} -m conntrack --ctstate NEW -m comment --comment "kubernetes ${text}" -j ${to}`;
  const [svc, sep, ext, fw] = ['SVC', 'SEP', 'EXT', 'FW'].map((kind) => `KUBE-${kind}-ABCDEFGHIJ234567`);
  return `${[
    ...['*mangle', ':KUBE-PROXY-CANARY - [0:0]', 'COMMIT'],
    '*filter',
    ...'EXTERNAL-SERVICES FIREWALL FORWARD NODEPORTS PROXY-CANARY PROXY-FIREWALL SERVICES'
      .split(' ')
      .map((name) => `:KUBE-${name} - [0:0]`),
    jump('INPUT', 'load balancer firewall', 'KUBE-PROXY-FIREWALL'),
    '-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS',
    jump('INPUT', 'externally-visible service portals', 'KUBE-EXTERNAL-SERVICES'),
    ...[operators, firewall],
    jump('FORWARD', 'load balancer firewall', 'KUBE-PROXY-FIREWALL'),
    '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
    jump('FORWARD', 'service portals', 'KUBE-SERVICES'),
    jump('OUTPUT', 'service portals', 'KUBE-SERVICES'),
    `-A KUBE-EXTERNAL-SERVICES -m comment --comment "lab/none has no local endpoints" -m addrtype --dst-type LOCAL -p tcp -m tcp --dport 30009 -j DROP`,
    '-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP',
    '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT',
    '-A KUBE-NODEPORTS -p tcp -m comment --comment "lab/web health check node port" -m tcp --dport 30008 -j ACCEPT',
    `-A KUBE-SERVICES -d ${host('7')} -p udp -m comment --comment "lab/none has no endpoints" -m udp --dport 53 -j REJECT`,
    ...[marked, 'COMMIT', '*nat'],
    ...'KUBELET-CANARY MARK-MASQ NODEPORTS POSTROUTING PROXY-CANARY SERVICES'.split(' ').map((name) => `:KUBE-${name} - [0:0]`),
    ...[svc, sep, ext, fw].map((name) => `:${name} - [0:0]`),
    '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
    masquerade,
    '-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000',
    `-A KUBE-NODEPORTS -p tcp -m comment --comment "lab/web" -m tcp --dport 30009 -j ${ext}`,
    '-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN',
    '-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0',
    '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
    `-A ${ext} -m comment --comment "masquerade LOCAL traffic" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ`,
    `-A ${ext} -j ${svc}`,
    `-A ${fw} -m comment --comment "lab/web loadbalancer IP" -s ${host('8')} -j ${ext}`,
    `-A ${sep} -s ${pod} -m comment --comment "lab/web" -j KUBE-MARK-MASQ`,
    `-A ${sep} -p tcp -m comment --comment "lab/web" -m recent --set --name ${sep} -m tcp -j DNAT --to-destination ${target}`,
    `-A KUBE-SERVICES -d ${host('9')} -p tcp -m comment --comment "lab/web cluster IP" -m tcp --dport 80 -j ${svc}`,
    '-A KUBE-SERVICES -m comment --comment "node ports; this must be the last rule" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS',
    `-A ${svc} -m comment --comment "lab/web" -m recent --rcheck --seconds 10800 --reap --name ${sep} -j ${sep}`,
    `-A ${svc} -m comment --comment "lab/web" -m statistic --mode random --probability 0.50000000000 -j ${sep}`,
    `-A ${svc} ! -s ${networks.pods[family]} -d ${host('9')} -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ`,
    'COMMIT',
  ].join('\n')}\n`;
}
