// The lanes: what real nodes have and labs forget, each at least once, transmit offload on and off in turn.
import { type Lane, plainLane } from './topology.ts';

const lane = (name: string, more: Partial<Lane>): Lane => ({ ...plainLane, ...more, name });

export const lanes: readonly Lane[] = [
  lane('routed veths, offload on', { offload: true }),
  lane("routed veths, rp_filter 1, closed firewall and a CNI's MASQUERADE", { rpFilter: 1, netfilter: true }),
  lane('routed veths, rp_filter 2, no default route, offload on', { rpFilter: 2, defaultRoute: false, offload: true }),
  lane('shared bridge, bridge-nf-call-iptables 0, closed firewall', { wiring: 'bridge', netfilter: true }),
  lane('shared bridge, bridge-nf-call-iptables 1, rp_filter 1, closed firewall, offload on', {
    wiring: 'bridge',
    bridgeNetfilter: 1,
    rpFilter: 1,
    netfilter: true,
    offload: true,
  }),
  lane('routed veths, pods elsewhere behind VXLAN, closed firewall', { tunnel: true, netfilter: true }),
  lane('shared bridge, pods elsewhere behind VXLAN, rp_filter 1, closed firewall, offload on', {
    wiring: 'bridge',
    tunnel: true,
    netfilter: true,
    rpFilter: 1,
    bridgeNetfilter: 1,
    offload: true,
  }),
  lane('pods elsewhere behind a link of MTU 1400', { backendMtu: 1400 }),
];
