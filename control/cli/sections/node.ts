// What does the datapath know of this node and of the world around the Services: addresses, devices, source ranges,
// settings, and how often each verdict was reached?

import { namesOf } from '../../abi/codec.ts';
import { AddressFlag, Hook, SettingFlag, Verdict } from '../../abi/layout.gen.ts';
import { addressBytes, addressOrder } from '../../address.ts';
import type { Address, Family, Prefix } from '../../model/model.ts';
import type { Column } from '../table.ts';
import { type Context, type Row, type Section, servicePortText, servicePortValue, servicesOf } from './section.ts';

function byText<T>(text: (item: T) => string): (a: T, b: T) => number {
  return (a, b) => (text(a) < text(b) ? -1 : text(a) > text(b) ? 1 : 0);
}

export const addresses: Section = {
  name: 'addresses',
  columns: [{ title: 'ADDRESS' }, { title: 'IS' }],
  *rows(context) {
    for (const map of [context.maps.addresses4, context.maps.addresses6]) {
      for (const [address, flags] of [...map.entries()].sort(byText(([key]) => addressOrder(key)))) {
        const names = namesOf(AddressFlag, flags).map((name) =>
          name
            .replace(/^ADDRESS_/, '')
            .toLowerCase()
            .replaceAll('_', '-'),
        );
        yield { cells: [address, names.join(',')], value: { address, is: names }, services: [], addresses: [address], backends: [] };
      }
    }
  },
};

export const devices: Section = {
  name: 'devices',
  columns: [
    { title: 'INDEX', right: true },
    { title: 'MTU', right: true },
    { title: 'MAC' },
    { title: 'MASQUERADE IPV4' },
    { title: 'MASQUERADE IPV6' },
  ],
  *rows(context) {
    for (const [ifindex, device] of [...context.maps.devices.entries()].sort(([a], [b]) => a - b)) {
      const address4 = device.address4 === '0.0.0.0' ? null : device.address4;
      const address6 = device.address6 === '::' ? null : device.address6;
      yield {
        cells: [String(ifindex), String(device.mtu), device.mac, address4 ?? '-', address6 ?? '-'],
        value: { ifindex, mtu: device.mtu, mac: device.mac, address4, address6 },
        services: [],
        addresses: [address4, address6].filter((address): address is Address => address !== null),
        backends: [],
      };
    }
  },
};

/** The frontend's id is in front of the address in the key; 32 bits of its length are the id's. */
const ID_BITS = 32;

interface Range {
  readonly frontend: number;
  readonly family: Family;
  readonly address: Address;
  readonly range: Prefix;
}

function* ranges(context: Context): Generator<Range> {
  for (const [key] of context.maps.source_ranges4.entries()) {
    yield { frontend: key.frontend, family: 4, address: key.address, range: `${key.address}/${key.prefix_length - ID_BITS}` };
  }
  for (const [key] of context.maps.source_ranges6.entries()) {
    yield { frontend: key.frontend, family: 6, address: key.address, range: `${key.address}/${key.prefix_length - ID_BITS}` };
  }
}

export const sourceRanges: Section = {
  name: 'source-ranges',
  columns: [{ title: 'SERVICE' }, { title: 'ALLOWED' }],
  *rows(context) {
    const place = byText<Range>(
      ({ frontend, address, range }) => `${servicePortText(context, frontend)} ${addressOrder(address)} ${range}`,
    );
    for (const { frontend, family, address, range } of [...ranges(context)].sort(place)) {
      yield {
        cells: [servicePortText(context, frontend), range],
        value: { ...servicePortValue(context, frontend), family, range },
        services: servicesOf(context, frontend),
        addresses: [address],
        backends: [],
      };
    }
  },
};

/** `10.0.0.0/8` of a network and its mask. */
function prefixText(network: Address, mask: Address): Prefix {
  const bits = addressBytes(mask).reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0);
  return `${network}/${bits}`;
}

function one(setting: string, value: string | number | boolean): Row {
  return { cells: [setting, String(value)], value: { setting, value }, services: [], addresses: [], backends: [] };
}

export const settings: Section = {
  name: 'settings',
  columns: [{ title: 'SETTING' }, { title: 'VALUE' }],
  *rows(context) {
    const held = context.maps.settings.get(0);
    if (held === undefined) return;
    yield one('flags', namesOf(SettingFlag, held.flags).join(',') || '-');
    const hz = held.jiffies_per_second;
    yield one('jiffies_per_second', hz);
    const seconds = (jiffies: number) => (hz === 0 ? `${jiffies} jiffies` : `${jiffies / hz}s`);
    yield one('tcp_syn_timeout', seconds(held.tcp_syn_timeout));
    yield one('tcp_established_timeout', seconds(held.tcp_established_timeout));
    yield one('tcp_close_timeout', seconds(held.tcp_close_timeout));
    yield one('udp_timeout', seconds(held.udp_timeout));
    yield one('udp_stream_timeout', seconds(held.udp_stream_timeout));
    yield one('next_hop_age', seconds(held.next_hop_age));
    yield one('route_generation', held.route_generation);
    yield one('mark', `0x${held.mark.toString(16)}`);
    yield one('masquerade_ports', `${held.snat_first}-${held.snat_last}`);
    yield one('host_netns_cookie', String(held.host_netns_cookie));
    for (const [name, list, count] of [
      ['service_cidr', held.service4, held.service_count4],
      ['service_cidr', held.service6, held.service_count6],
      ['local_cidr', held.local4, held.local_count4],
      ['local_cidr', held.local6, held.local_count6],
    ] as const) {
      for (const prefix of list.slice(0, count)) yield one(name, prefixText(prefix.network, prefix.mask));
    }
  },
};

const HOOKS = Object.entries(Hook).filter(([name]) => name !== 'HOOK_COUNT');

function hookTitle(name: string): string {
  return name.replace(/^HOOK_/, '').replaceAll('_', ' ');
}

export const verdicts: Section = {
  name: 'verdicts',
  columns: [
    { title: 'VERDICT' },
    { title: 'PACKETS', right: true },
    ...HOOKS.map(([name]): Column => ({ title: hookTitle(name), right: true })),
  ],
  *rows(context) {
    for (const [name, verdict] of Object.entries(Verdict)) {
      if (name === 'VERDICT_CONTINUE' || name === 'VERDICT_COUNT') continue;
      const counts = context.maps.verdicts.get(verdict)?.packets ?? [];
      const total = counts.reduce((sum, count) => sum + count, 0n);
      if (total === 0n) continue;
      const hooks = Object.fromEntries(
        HOOKS.map(([hook, index]) => [hook.replace(/^HOOK_/, '').toLowerCase(), Number(counts[index] ?? 0n)]),
      );
      yield {
        cells: [name, String(total), ...HOOKS.map(([, index]) => (counts[index] ? String(counts[index]) : '-'))],
        value: { verdict: name, packets: Number(total), hooks },
        services: [],
        addresses: [],
        backends: [],
      };
    }
  },
};
