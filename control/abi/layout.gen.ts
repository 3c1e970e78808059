// What is in the maps? Written by control/abi/generate.ts from bpf/abi.h; `make layout` writes it again. Never edited.

import type { Address } from '../model/model.ts';
import { addr4, addr6, be16, be32, type Codec, list, type Mac, mac, pad, u8, u16, u32, u64, type Words } from './codec.ts';
import type { Layout } from './translation.ts';

/** enum verdict */
export const Verdict = {
  VERDICT_CONTINUE: 0,
  PASS_NOT_IP: 1,
  PASS_NOT_OURS: 2,
  PASS_MALFORMED: 3,
  PASS_TO_TC: 4,
  PASS_OWN: 5,
  PASS_NO_FLOW: 6,
  PASS_YIELDED: 7,
  PASS_REPLY: 8,
  PASS_SOCKET: 9,
  PASS_ABSTAIN: 10,
  PASS_SELF_TEST: 11,
  TRANSLATE_REQUEST: 12,
  TRANSLATE_REPLY: 13,
  TRANSLATE_SOCKET: 14,
  TRANSLATE_SOCKET_REPLY: 15,
  FORWARD_REQUEST: 16,
  FORWARD_REPLY: 17,
  FORWARD_HAIRPIN: 18,
  DROP_NO_LOCAL_BACKEND: 19,
  DROP_SOURCE_RANGE: 20,
  DROP_UNASSIGNED: 21,
  DROP_FRAGMENT: 22,
  DROP_ICMP_ERROR: 23,
  DROP_NO_SNAT_PORT: 24,
  DROP_NO_SNAT_ADDRESS: 25,
  DROP_TABLE_FULL: 26,
  DROP_NO_ROUTE: 27,
  DROP_STALE_SLOT: 28,
  DROP_NOT_WRITABLE: 29,
  REJECT_NO_ENDPOINTS: 30,
  REJECT_UNOWNED_PORT: 31,
  REJECT_TTL_EXPIRED: 32,
  REJECT_TOO_BIG: 33,
  REJECT_GONE_BACKEND: 34,
  VERDICT_COUNT: 35,
} as const satisfies Words;

/** enum frontend_flag */
export const FrontendFlag = {
  FRONTEND_CLUSTER_IP: 1,
  FRONTEND_LOCAL: 2,
  FRONTEND_HAS_ENDPOINTS: 4,
  FRONTEND_AFFINITY: 8,
  FRONTEND_SOURCE_RANGES: 16,
  FRONTEND_SELF_ALLOWED: 32,
  FRONTEND_NODE_PORT: 64,
} as const satisfies Words;

/** enum backend_flag */
export const BackendFlag = {
  BACKEND_LIVE: 1,
  BACKEND_SERVING: 2,
  BACKEND_LOCAL: 4,
  BACKEND_HOST: 8,
} as const satisfies Words;

/** enum address_flag */
export const AddressFlag = {
  ADDRESS_NODE: 1,
  ADDRESS_NODE_PORT: 2,
  ADDRESS_FRONTEND: 4,
  ADDRESS_CLUSTER_IP: 8,
  ADDRESS_RETIRED: 16,
} as const satisfies Words;

/** enum device_flag */
export const DeviceFlag = {
  DEVICE_XDP: 1,
} as const satisfies Words;

/** enum setting_flag */
export const SettingFlag = {
  SETTING_MASQUERADE_ALL: 1,
  SETTING_LOCAL_BY_PREFIX: 2,
  SETTING_SOCKET_PODS: 4,
  SETTING_SOCKET_HOST: 8,
  SETTING_EXEMPT_CGROUPS: 16,
  SETTING_YIELD: 32,
  SETTING_OTHERS_FLOWS: 64,
} as const satisfies Words;

/** enum flow_flag */
export const FlowFlag = {
  FLOW_REPLY: 1,
  FLOW_EGRESS: 2,
  FLOW_SEND: 4,
  FLOW_HAIRPIN: 8,
  FLOW_NODE: 16,
  FLOW_CONFIRMED: 32,
  FLOW_FIN: 64,
  FLOW_PEER_FIN: 128,
  FLOW_RST: 256,
  FLOW_RESET: 512,
} as const satisfies Words;

/** enum client_kind */
export const ClientKind = {
  CLIENT_ADDRESS: 0,
  CLIENT_NETNS: 1,
} as const satisfies Words;

/** enum socket_direction */
export const SocketDirection = {
  SOCKET_REQUEST: 0,
  SOCKET_REPLY: 1,
} as const satisfies Words;

/** enum hook */
export const Hook = {
  HOOK_NIC_INGRESS: 0,
  HOOK_NIC_EGRESS: 1,
  HOOK_POD_INGRESS: 2,
  HOOK_POD_EGRESS: 3,
  HOOK_XDP: 4,
  HOOK_CONNECT: 5,
  HOOK_SENDMSG: 6,
  HOOK_RECVMSG: 7,
  HOOK_GETPEERNAME: 8,
  HOOK_COUNT: 9,
} as const satisfies Words;

/** struct verdict_count, 72 bytes */
export interface VerdictCount {
  readonly packets: readonly bigint[];
}

const VerdictCount_packets = list(u64, 9);

export const VerdictCount: Codec<VerdictCount> = {
  size: 72,
  encode(value, view, at) {
    VerdictCount_packets.encode(value.packets, view, at);
  },
  decode(view, at) {
    return {
      packets: VerdictCount_packets.decode(view, at),
    };
  },
};

/** struct service_count, 40 bytes */
export interface ServiceCount {
  readonly flows: bigint;
  readonly no_endpoints: bigint;
  readonly no_local_backend: bigint;
  readonly source_range: bigint;
  readonly others: bigint;
}

export const ServiceCount: Codec<ServiceCount> = {
  size: 40,
  encode(value, view, at) {
    u64.encode(value.flows, view, at);
    u64.encode(value.no_endpoints, view, at + 8);
    u64.encode(value.no_local_backend, view, at + 16);
    u64.encode(value.source_range, view, at + 24);
    u64.encode(value.others, view, at + 32);
  },
  decode(view, at) {
    return {
      flows: u64.decode(view, at),
      no_endpoints: u64.decode(view, at + 8),
      no_local_backend: u64.decode(view, at + 16),
      source_range: u64.decode(view, at + 24),
      others: u64.decode(view, at + 32),
    };
  },
};

/** struct frontend_key4, 8 bytes */
export interface FrontendKey4 {
  readonly address: Address;
  readonly port: number;
  readonly protocol: number;
}

export const FrontendKey4: Codec<FrontendKey4> = {
  size: 8,
  encode(value, view, at) {
    addr4.encode(value.address, view, at);
    be16.encode(value.port, view, at + 4);
    u8.encode(value.protocol, view, at + 6);
    pad(view, at + 7, 1);
  },
  decode(view, at) {
    return {
      address: addr4.decode(view, at),
      port: be16.decode(view, at + 4),
      protocol: u8.decode(view, at + 6),
    };
  },
};

/** struct slice, 8 bytes */
export interface Slice {
  readonly first: number;
  readonly count: number;
}

export const Slice: Codec<Slice> = {
  size: 8,
  encode(value, view, at) {
    u32.encode(value.first, view, at);
    u32.encode(value.count, view, at + 4);
  },
  decode(view, at) {
    return {
      first: u32.decode(view, at),
      count: u32.decode(view, at + 4),
    };
  },
};

/** struct frontend, 48 bytes */
export interface Frontend {
  readonly id: number;
  readonly flags: number;
  readonly cluster: Slice;
  readonly local: Slice;
  readonly cluster_table: Slice;
  readonly local_table: Slice;
  readonly affinity_seconds: number;
  readonly check: number;
}

export const Frontend: Codec<Frontend> = {
  size: 48,
  encode(value, view, at) {
    u32.encode(value.id, view, at);
    u32.encode(value.flags, view, at + 4);
    Slice.encode(value.cluster, view, at + 8);
    Slice.encode(value.local, view, at + 16);
    Slice.encode(value.cluster_table, view, at + 24);
    Slice.encode(value.local_table, view, at + 32);
    u32.encode(value.affinity_seconds, view, at + 40);
    u32.encode(value.check, view, at + 44);
  },
  decode(view, at) {
    return {
      id: u32.decode(view, at),
      flags: u32.decode(view, at + 4),
      cluster: Slice.decode(view, at + 8),
      local: Slice.decode(view, at + 16),
      cluster_table: Slice.decode(view, at + 24),
      local_table: Slice.decode(view, at + 32),
      affinity_seconds: u32.decode(view, at + 40),
      check: u32.decode(view, at + 44),
    };
  },
};

/** struct frontend_key6, 20 bytes */
export interface FrontendKey6 {
  readonly address: Address;
  readonly port: number;
  readonly protocol: number;
}

export const FrontendKey6: Codec<FrontendKey6> = {
  size: 20,
  encode(value, view, at) {
    addr6.encode(value.address, view, at);
    be16.encode(value.port, view, at + 16);
    u8.encode(value.protocol, view, at + 18);
    pad(view, at + 19, 1);
  },
  decode(view, at) {
    return {
      address: addr6.decode(view, at),
      port: be16.decode(view, at + 16),
      protocol: u8.decode(view, at + 18),
    };
  },
};

/** struct backend4, 12 bytes */
export interface Backend4 {
  readonly address: Address;
  readonly port: number;
  readonly protocol: number;
  readonly flags: number;
  readonly generation: number;
}

export const Backend4: Codec<Backend4> = {
  size: 12,
  encode(value, view, at) {
    addr4.encode(value.address, view, at);
    be16.encode(value.port, view, at + 4);
    u8.encode(value.protocol, view, at + 6);
    u8.encode(value.flags, view, at + 7);
    u32.encode(value.generation, view, at + 8);
  },
  decode(view, at) {
    return {
      address: addr4.decode(view, at),
      port: be16.decode(view, at + 4),
      protocol: u8.decode(view, at + 6),
      flags: u8.decode(view, at + 7),
      generation: u32.decode(view, at + 8),
    };
  },
};

/** struct backend6, 24 bytes */
export interface Backend6 {
  readonly address: Address;
  readonly port: number;
  readonly protocol: number;
  readonly flags: number;
  readonly generation: number;
}

export const Backend6: Codec<Backend6> = {
  size: 24,
  encode(value, view, at) {
    addr6.encode(value.address, view, at);
    be16.encode(value.port, view, at + 16);
    u8.encode(value.protocol, view, at + 18);
    u8.encode(value.flags, view, at + 19);
    u32.encode(value.generation, view, at + 20);
  },
  decode(view, at) {
    return {
      address: addr6.decode(view, at),
      port: be16.decode(view, at + 16),
      protocol: u8.decode(view, at + 18),
      flags: u8.decode(view, at + 19),
      generation: u32.decode(view, at + 20),
    };
  },
};

/** struct source_range_key4, 12 bytes */
export interface SourceRangeKey4 {
  readonly prefix_length: number;
  readonly frontend: number;
  readonly address: Address;
}

export const SourceRangeKey4: Codec<SourceRangeKey4> = {
  size: 12,
  encode(value, view, at) {
    u32.encode(value.prefix_length, view, at);
    be32.encode(value.frontend, view, at + 4);
    addr4.encode(value.address, view, at + 8);
  },
  decode(view, at) {
    return {
      prefix_length: u32.decode(view, at),
      frontend: be32.decode(view, at + 4),
      address: addr4.decode(view, at + 8),
    };
  },
};

/** struct source_range_key6, 24 bytes */
export interface SourceRangeKey6 {
  readonly prefix_length: number;
  readonly frontend: number;
  readonly address: Address;
}

export const SourceRangeKey6: Codec<SourceRangeKey6> = {
  size: 24,
  encode(value, view, at) {
    u32.encode(value.prefix_length, view, at);
    be32.encode(value.frontend, view, at + 4);
    addr6.encode(value.address, view, at + 8);
  },
  decode(view, at) {
    return {
      prefix_length: u32.decode(view, at),
      frontend: be32.decode(view, at + 4),
      address: addr6.decode(view, at + 8),
    };
  },
};

/** struct device, 32 bytes */
export interface Device {
  readonly address6: Address;
  readonly address4: Address;
  readonly mtu: number;
  readonly mac: Mac;
  readonly flags: number;
}

export const Device: Codec<Device> = {
  size: 32,
  encode(value, view, at) {
    addr6.encode(value.address6, view, at);
    addr4.encode(value.address4, view, at + 16);
    u32.encode(value.mtu, view, at + 20);
    mac.encode(value.mac, view, at + 24);
    u16.encode(value.flags, view, at + 30);
  },
  decode(view, at) {
    return {
      address6: addr6.decode(view, at),
      address4: addr4.decode(view, at + 16),
      mtu: u32.decode(view, at + 20),
      mac: mac.decode(view, at + 24),
      flags: u16.decode(view, at + 30),
    };
  },
};

/** struct prefix4, 8 bytes */
export interface Prefix4 {
  readonly network: Address;
  readonly mask: Address;
}

export const Prefix4: Codec<Prefix4> = {
  size: 8,
  encode(value, view, at) {
    addr4.encode(value.network, view, at);
    addr4.encode(value.mask, view, at + 4);
  },
  decode(view, at) {
    return {
      network: addr4.decode(view, at),
      mask: addr4.decode(view, at + 4),
    };
  },
};

/** struct prefix6, 32 bytes */
export interface Prefix6 {
  readonly network: Address;
  readonly mask: Address;
}

export const Prefix6: Codec<Prefix6> = {
  size: 32,
  encode(value, view, at) {
    addr6.encode(value.network, view, at);
    addr6.encode(value.mask, view, at + 16);
  },
  decode(view, at) {
    return {
      network: addr6.decode(view, at),
      mask: addr6.decode(view, at + 16),
    };
  },
};

/** struct settings, 712 bytes */
export interface Settings {
  readonly host_netns_cookie: bigint;
  readonly flags: number;
  readonly jiffies_per_second: number;
  readonly tcp_syn_timeout: number;
  readonly tcp_established_timeout: number;
  readonly tcp_close_timeout: number;
  readonly udp_timeout: number;
  readonly udp_stream_timeout: number;
  readonly next_hop_age: number;
  readonly route_generation: number;
  readonly mark: number;
  readonly snat_first: number;
  readonly snat_last: number;
  readonly service_count4: number;
  readonly service_count6: number;
  readonly local_count4: number;
  readonly local_count6: number;
  readonly service4: readonly Prefix4[];
  readonly local4: readonly Prefix4[];
  readonly service6: readonly Prefix6[];
  readonly local6: readonly Prefix6[];
}

const Settings_service4 = list(Prefix4, 8);
const Settings_local4 = list(Prefix4, 8);
const Settings_service6 = list(Prefix6, 8);
const Settings_local6 = list(Prefix6, 8);

export const Settings: Codec<Settings> = {
  size: 712,
  encode(value, view, at) {
    u64.encode(value.host_netns_cookie, view, at);
    u32.encode(value.flags, view, at + 8);
    u32.encode(value.jiffies_per_second, view, at + 12);
    u32.encode(value.tcp_syn_timeout, view, at + 16);
    u32.encode(value.tcp_established_timeout, view, at + 20);
    u32.encode(value.tcp_close_timeout, view, at + 24);
    u32.encode(value.udp_timeout, view, at + 28);
    u32.encode(value.udp_stream_timeout, view, at + 32);
    u32.encode(value.next_hop_age, view, at + 36);
    u32.encode(value.route_generation, view, at + 40);
    u32.encode(value.mark, view, at + 44);
    u16.encode(value.snat_first, view, at + 48);
    u16.encode(value.snat_last, view, at + 50);
    u32.encode(value.service_count4, view, at + 52);
    u32.encode(value.service_count6, view, at + 56);
    u32.encode(value.local_count4, view, at + 60);
    u32.encode(value.local_count6, view, at + 64);
    pad(view, at + 68, 4);
    Settings_service4.encode(value.service4, view, at + 72);
    Settings_local4.encode(value.local4, view, at + 136);
    Settings_service6.encode(value.service6, view, at + 200);
    Settings_local6.encode(value.local6, view, at + 456);
  },
  decode(view, at) {
    return {
      host_netns_cookie: u64.decode(view, at),
      flags: u32.decode(view, at + 8),
      jiffies_per_second: u32.decode(view, at + 12),
      tcp_syn_timeout: u32.decode(view, at + 16),
      tcp_established_timeout: u32.decode(view, at + 20),
      tcp_close_timeout: u32.decode(view, at + 24),
      udp_timeout: u32.decode(view, at + 28),
      udp_stream_timeout: u32.decode(view, at + 32),
      next_hop_age: u32.decode(view, at + 36),
      route_generation: u32.decode(view, at + 40),
      mark: u32.decode(view, at + 44),
      snat_first: u16.decode(view, at + 48),
      snat_last: u16.decode(view, at + 50),
      service_count4: u32.decode(view, at + 52),
      service_count6: u32.decode(view, at + 56),
      local_count4: u32.decode(view, at + 60),
      local_count6: u32.decode(view, at + 64),
      service4: Settings_service4.decode(view, at + 72),
      local4: Settings_local4.decode(view, at + 136),
      service6: Settings_service6.decode(view, at + 200),
      local6: Settings_local6.decode(view, at + 456),
    };
  },
};

/** struct next_hop4, 52 bytes */
export interface NextHop4 {
  readonly check: number;
  readonly backend: number;
  readonly generation: number;
  readonly entered: number;
  readonly ifindex: number;
  readonly route_generation: number;
  readonly resolved: number;
  readonly mtu: number;
  readonly destination_mac: Mac;
  readonly source_mac: Mac;
  readonly address: Address;
  readonly source: Address;
}

export const NextHop4: Codec<NextHop4> = {
  size: 52,
  encode(value, view, at) {
    u32.encode(value.check, view, at);
    u32.encode(value.backend, view, at + 4);
    u32.encode(value.generation, view, at + 8);
    u32.encode(value.entered, view, at + 12);
    u32.encode(value.ifindex, view, at + 16);
    u32.encode(value.route_generation, view, at + 20);
    u32.encode(value.resolved, view, at + 24);
    u16.encode(value.mtu, view, at + 28);
    pad(view, at + 30, 2);
    mac.encode(value.destination_mac, view, at + 32);
    mac.encode(value.source_mac, view, at + 38);
    addr4.encode(value.address, view, at + 44);
    addr4.encode(value.source, view, at + 48);
  },
  decode(view, at) {
    return {
      check: u32.decode(view, at),
      backend: u32.decode(view, at + 4),
      generation: u32.decode(view, at + 8),
      entered: u32.decode(view, at + 12),
      ifindex: u32.decode(view, at + 16),
      route_generation: u32.decode(view, at + 20),
      resolved: u32.decode(view, at + 24),
      mtu: u16.decode(view, at + 28),
      destination_mac: mac.decode(view, at + 32),
      source_mac: mac.decode(view, at + 38),
      address: addr4.decode(view, at + 44),
      source: addr4.decode(view, at + 48),
    };
  },
};

/** struct next_hop6, 76 bytes */
export interface NextHop6 {
  readonly check: number;
  readonly backend: number;
  readonly generation: number;
  readonly entered: number;
  readonly ifindex: number;
  readonly route_generation: number;
  readonly resolved: number;
  readonly mtu: number;
  readonly destination_mac: Mac;
  readonly source_mac: Mac;
  readonly address: Address;
  readonly source: Address;
}

export const NextHop6: Codec<NextHop6> = {
  size: 76,
  encode(value, view, at) {
    u32.encode(value.check, view, at);
    u32.encode(value.backend, view, at + 4);
    u32.encode(value.generation, view, at + 8);
    u32.encode(value.entered, view, at + 12);
    u32.encode(value.ifindex, view, at + 16);
    u32.encode(value.route_generation, view, at + 20);
    u32.encode(value.resolved, view, at + 24);
    u16.encode(value.mtu, view, at + 28);
    pad(view, at + 30, 2);
    mac.encode(value.destination_mac, view, at + 32);
    mac.encode(value.source_mac, view, at + 38);
    addr6.encode(value.address, view, at + 44);
    addr6.encode(value.source, view, at + 60);
  },
  decode(view, at) {
    return {
      check: u32.decode(view, at),
      backend: u32.decode(view, at + 4),
      generation: u32.decode(view, at + 8),
      entered: u32.decode(view, at + 12),
      ifindex: u32.decode(view, at + 16),
      route_generation: u32.decode(view, at + 20),
      resolved: u32.decode(view, at + 24),
      mtu: u16.decode(view, at + 28),
      destination_mac: mac.decode(view, at + 32),
      source_mac: mac.decode(view, at + 38),
      address: addr6.decode(view, at + 44),
      source: addr6.decode(view, at + 60),
    };
  },
};

/** struct flow_key4, 16 bytes */
export interface FlowKey4 {
  readonly source: Address;
  readonly destination: Address;
  readonly source_port: number;
  readonly destination_port: number;
  readonly protocol: number;
}

export const FlowKey4: Codec<FlowKey4> = {
  size: 16,
  encode(value, view, at) {
    addr4.encode(value.source, view, at);
    addr4.encode(value.destination, view, at + 4);
    be16.encode(value.source_port, view, at + 8);
    be16.encode(value.destination_port, view, at + 10);
    u8.encode(value.protocol, view, at + 12);
    pad(view, at + 13, 3);
  },
  decode(view, at) {
    return {
      source: addr4.decode(view, at),
      destination: addr4.decode(view, at + 4),
      source_port: be16.decode(view, at + 8),
      destination_port: be16.decode(view, at + 10),
      protocol: u8.decode(view, at + 12),
    };
  },
};

/** struct flow4, 60 bytes */
export interface Flow4 {
  readonly frontend: number;
  readonly backend: number;
  readonly generation: number;
  readonly seen: number;
  readonly ifindex: number;
  readonly route_generation: number;
  readonly resolved: number;
  readonly mtu: number;
  readonly flags: number;
  readonly source_port: number;
  readonly destination_port: number;
  readonly destination_mac: Mac;
  readonly source_mac: Mac;
  readonly source: Address;
  readonly destination: Address;
  readonly next_hop: Address;
}

export const Flow4: Codec<Flow4> = {
  size: 60,
  encode(value, view, at) {
    u32.encode(value.frontend, view, at);
    u32.encode(value.backend, view, at + 4);
    u32.encode(value.generation, view, at + 8);
    u32.encode(value.seen, view, at + 12);
    u32.encode(value.ifindex, view, at + 16);
    u32.encode(value.route_generation, view, at + 20);
    u32.encode(value.resolved, view, at + 24);
    u16.encode(value.mtu, view, at + 28);
    u16.encode(value.flags, view, at + 30);
    be16.encode(value.source_port, view, at + 32);
    be16.encode(value.destination_port, view, at + 34);
    mac.encode(value.destination_mac, view, at + 36);
    mac.encode(value.source_mac, view, at + 42);
    addr4.encode(value.source, view, at + 48);
    addr4.encode(value.destination, view, at + 52);
    addr4.encode(value.next_hop, view, at + 56);
  },
  decode(view, at) {
    return {
      frontend: u32.decode(view, at),
      backend: u32.decode(view, at + 4),
      generation: u32.decode(view, at + 8),
      seen: u32.decode(view, at + 12),
      ifindex: u32.decode(view, at + 16),
      route_generation: u32.decode(view, at + 20),
      resolved: u32.decode(view, at + 24),
      mtu: u16.decode(view, at + 28),
      flags: u16.decode(view, at + 30),
      source_port: be16.decode(view, at + 32),
      destination_port: be16.decode(view, at + 34),
      destination_mac: mac.decode(view, at + 36),
      source_mac: mac.decode(view, at + 42),
      source: addr4.decode(view, at + 48),
      destination: addr4.decode(view, at + 52),
      next_hop: addr4.decode(view, at + 56),
    };
  },
};

/** struct flow_key6, 40 bytes */
export interface FlowKey6 {
  readonly source: Address;
  readonly destination: Address;
  readonly source_port: number;
  readonly destination_port: number;
  readonly protocol: number;
}

export const FlowKey6: Codec<FlowKey6> = {
  size: 40,
  encode(value, view, at) {
    addr6.encode(value.source, view, at);
    addr6.encode(value.destination, view, at + 16);
    be16.encode(value.source_port, view, at + 32);
    be16.encode(value.destination_port, view, at + 34);
    u8.encode(value.protocol, view, at + 36);
    pad(view, at + 37, 3);
  },
  decode(view, at) {
    return {
      source: addr6.decode(view, at),
      destination: addr6.decode(view, at + 16),
      source_port: be16.decode(view, at + 32),
      destination_port: be16.decode(view, at + 34),
      protocol: u8.decode(view, at + 36),
    };
  },
};

/** struct flow6, 96 bytes */
export interface Flow6 {
  readonly frontend: number;
  readonly backend: number;
  readonly generation: number;
  readonly seen: number;
  readonly ifindex: number;
  readonly route_generation: number;
  readonly resolved: number;
  readonly mtu: number;
  readonly flags: number;
  readonly source_port: number;
  readonly destination_port: number;
  readonly destination_mac: Mac;
  readonly source_mac: Mac;
  readonly source: Address;
  readonly destination: Address;
  readonly next_hop: Address;
}

export const Flow6: Codec<Flow6> = {
  size: 96,
  encode(value, view, at) {
    u32.encode(value.frontend, view, at);
    u32.encode(value.backend, view, at + 4);
    u32.encode(value.generation, view, at + 8);
    u32.encode(value.seen, view, at + 12);
    u32.encode(value.ifindex, view, at + 16);
    u32.encode(value.route_generation, view, at + 20);
    u32.encode(value.resolved, view, at + 24);
    u16.encode(value.mtu, view, at + 28);
    u16.encode(value.flags, view, at + 30);
    be16.encode(value.source_port, view, at + 32);
    be16.encode(value.destination_port, view, at + 34);
    mac.encode(value.destination_mac, view, at + 36);
    mac.encode(value.source_mac, view, at + 42);
    addr6.encode(value.source, view, at + 48);
    addr6.encode(value.destination, view, at + 64);
    addr6.encode(value.next_hop, view, at + 80);
  },
  decode(view, at) {
    return {
      frontend: u32.decode(view, at),
      backend: u32.decode(view, at + 4),
      generation: u32.decode(view, at + 8),
      seen: u32.decode(view, at + 12),
      ifindex: u32.decode(view, at + 16),
      route_generation: u32.decode(view, at + 20),
      resolved: u32.decode(view, at + 24),
      mtu: u16.decode(view, at + 28),
      flags: u16.decode(view, at + 30),
      source_port: be16.decode(view, at + 32),
      destination_port: be16.decode(view, at + 34),
      destination_mac: mac.decode(view, at + 36),
      source_mac: mac.decode(view, at + 42),
      source: addr6.decode(view, at + 48),
      destination: addr6.decode(view, at + 64),
      next_hop: addr6.decode(view, at + 80),
    };
  },
};

/** struct affinity_key, 24 bytes */
export interface AffinityKey {
  readonly frontend: number;
  readonly kind: number;
  readonly client: Address;
}

export const AffinityKey: Codec<AffinityKey> = {
  size: 24,
  encode(value, view, at) {
    u32.encode(value.frontend, view, at);
    u32.encode(value.kind, view, at + 4);
    addr6.encode(value.client, view, at + 8);
  },
  decode(view, at) {
    return {
      frontend: u32.decode(view, at),
      kind: u32.decode(view, at + 4),
      client: addr6.decode(view, at + 8),
    };
  },
};

/** struct affinity, 16 bytes */
export interface Affinity {
  readonly backend: number;
  readonly generation: number;
  readonly seen: number;
}

export const Affinity: Codec<Affinity> = {
  size: 16,
  encode(value, view, at) {
    u32.encode(value.backend, view, at);
    u32.encode(value.generation, view, at + 4);
    u32.encode(value.seen, view, at + 8);
    pad(view, at + 12, 4);
  },
  decode(view, at) {
    return {
      backend: u32.decode(view, at),
      generation: u32.decode(view, at + 4),
      seen: u32.decode(view, at + 8),
    };
  },
};

/** struct socket_key, 32 bytes */
export interface SocketKey {
  readonly cookie: bigint;
  readonly address: Address;
  readonly port: number;
  readonly protocol: number;
  readonly direction: number;
}

export const SocketKey: Codec<SocketKey> = {
  size: 32,
  encode(value, view, at) {
    u64.encode(value.cookie, view, at);
    addr6.encode(value.address, view, at + 8);
    be16.encode(value.port, view, at + 24);
    u8.encode(value.protocol, view, at + 26);
    u8.encode(value.direction, view, at + 27);
    pad(view, at + 28, 4);
  },
  decode(view, at) {
    return {
      cookie: u64.decode(view, at),
      address: addr6.decode(view, at + 8),
      port: be16.decode(view, at + 24),
      protocol: u8.decode(view, at + 26),
      direction: u8.decode(view, at + 27),
    };
  },
};

/** struct socket_flow, 36 bytes */
export interface SocketFlow {
  readonly address: Address;
  readonly port: number;
  readonly frontend: number;
  readonly backend: number;
  readonly generation: number;
  readonly seen: number;
}

export const SocketFlow: Codec<SocketFlow> = {
  size: 36,
  encode(value, view, at) {
    addr6.encode(value.address, view, at);
    be16.encode(value.port, view, at + 16);
    pad(view, at + 18, 2);
    u32.encode(value.frontend, view, at + 20);
    u32.encode(value.backend, view, at + 24);
    u32.encode(value.generation, view, at + 28);
    u32.encode(value.seen, view, at + 32);
  },
  decode(view, at) {
    return {
      address: addr6.decode(view, at),
      port: be16.decode(view, at + 16),
      frontend: u32.decode(view, at + 20),
      backend: u32.decode(view, at + 24),
      generation: u32.decode(view, at + 28),
      seen: u32.decode(view, at + 32),
    };
  },
};

/** struct self_test, 32 bytes */
export interface SelfTest {
  readonly runs: bigint;
  readonly netns_cookie: bigint;
  readonly jiffies: bigint;
  readonly ktime_ns: bigint;
}

export const SelfTest: Codec<SelfTest> = {
  size: 32,
  encode(value, view, at) {
    u64.encode(value.runs, view, at);
    u64.encode(value.netns_cookie, view, at + 8);
    u64.encode(value.jiffies, view, at + 16);
    u64.encode(value.ktime_ns, view, at + 24);
  },
  decode(view, at) {
    return {
      runs: u64.decode(view, at),
      netns_cookie: u64.decode(view, at + 8),
      jiffies: u64.decode(view, at + 16),
      ktime_ns: u64.decode(view, at + 24),
    };
  },
};

/** struct features, 8 bytes */
export interface Features {
  readonly set_retval: number;
  readonly checksum_ipv6: number;
}

export const Features: Codec<Features> = {
  size: 8,
  encode(value, view, at) {
    u8.encode(value.set_retval, view, at);
    u8.encode(value.checksum_ipv6, view, at + 1);
    pad(view, at + 2, 6);
  },
  decode(view, at) {
    return {
      set_retval: u8.decode(view, at),
      checksum_ipv6: u8.decode(view, at + 1),
    };
  },
};

/** Every map of the page: kernel type and flags, codecs, and the default of max_entries. */
export const MAPS = {
  verdicts: { name: 'verdicts', type: 6, flags: 0, perCpu: true, key: u32, value: VerdictCount, maxEntries: 35 },
  service_counts: { name: 'service_counts', type: 1, flags: 0, perCpu: false, key: u32, value: ServiceCount, maxEntries: 65536 },
  frontends4: { name: 'frontends4', type: 1, flags: 0, perCpu: false, key: FrontendKey4, value: Frontend, maxEntries: 131072 },
  frontends6: { name: 'frontends6', type: 1, flags: 0, perCpu: false, key: FrontendKey6, value: Frontend, maxEntries: 131072 },
  slots: { name: 'slots', type: 2, flags: 1024, perCpu: false, key: u32, value: u32, maxEntries: 4194304 },
  backends4: { name: 'backends4', type: 2, flags: 0, perCpu: false, key: u32, value: Backend4, maxEntries: 262144 },
  backends6: { name: 'backends6', type: 2, flags: 0, perCpu: false, key: u32, value: Backend6, maxEntries: 262144 },
  addresses4: { name: 'addresses4', type: 1, flags: 0, perCpu: false, key: addr4, value: u32, maxEntries: 65536 },
  addresses6: { name: 'addresses6', type: 1, flags: 0, perCpu: false, key: addr6, value: u32, maxEntries: 65536 },
  source_ranges4: { name: 'source_ranges4', type: 11, flags: 1, perCpu: false, key: SourceRangeKey4, value: u32, maxEntries: 65536 },
  source_ranges6: { name: 'source_ranges6', type: 11, flags: 1, perCpu: false, key: SourceRangeKey6, value: u32, maxEntries: 65536 },
  devices: { name: 'devices', type: 1, flags: 0, perCpu: false, key: u32, value: Device, maxEntries: 16384 },
  snat_ports: { name: 'snat_ports', type: 2, flags: 0, perCpu: false, key: u32, value: u64, maxEntries: 1024 },
  settings: { name: 'settings', type: 2, flags: 0, perCpu: false, key: u32, value: Settings, maxEntries: 1 },
  next_hops4: { name: 'next_hops4', type: 2, flags: 0, perCpu: false, key: u32, value: NextHop4, maxEntries: 65536 },
  next_hops6: { name: 'next_hops6', type: 2, flags: 0, perCpu: false, key: u32, value: NextHop6, maxEntries: 65536 },
  flows4: { name: 'flows4', type: 1, flags: 0, perCpu: false, key: FlowKey4, value: Flow4, maxEntries: 262144 },
  flows6: { name: 'flows6', type: 1, flags: 0, perCpu: false, key: FlowKey6, value: Flow6, maxEntries: 131072 },
  new_flows4: { name: 'new_flows4', type: 9, flags: 0, perCpu: false, key: FlowKey4, value: Flow4, maxEntries: 131072 },
  new_flows6: { name: 'new_flows6', type: 9, flags: 0, perCpu: false, key: FlowKey6, value: Flow6, maxEntries: 65536 },
  affinities: { name: 'affinities', type: 9, flags: 0, perCpu: false, key: AffinityKey, value: Affinity, maxEntries: 65536 },
  socket_flows: { name: 'socket_flows', type: 9, flags: 0, perCpu: false, key: SocketKey, value: SocketFlow, maxEntries: 131072 },
  exempt_cgroups: { name: 'exempt_cgroups', type: 1, flags: 0, perCpu: false, key: u64, value: u32, maxEntries: 1024 },
  self_tests: { name: 'self_tests', type: 2, flags: 0, perCpu: false, key: u32, value: SelfTest, maxEntries: 1 },
} as const;

export type MapName = keyof typeof MAPS;

/** Names this layout: maps of another fingerprint hold other bytes. Sizes of maps are not part of it. */
export const LAYOUT_FINGERPRINT = '80cadffc5cbdb745';

/** This layout in words, for a version that has another: where each field lies, and what the numbers are called. */
export const LAYOUT: Layout = {
  structs: {
    verdict_count: { size: 72, fields: { packets: [0, 'u64*9'] } },
    service_count: { size: 40, fields: { flows: [0, 'u64'], no_endpoints: [8, 'u64'], no_local_backend: [16, 'u64'], source_range: [24, 'u64'], others: [32, 'u64'] } },
    frontend_key4: { size: 8, fields: { address: [0, 'addr4'], port: [4, 'be16'], protocol: [6, 'u8'] } },
    slice: { size: 8, fields: { first: [0, 'u32'], count: [4, 'u32'] } },
    frontend: { size: 48, fields: { id: [0, 'u32'], flags: [4, 'u32'], cluster: [8, 'slice'], local: [16, 'slice'], cluster_table: [24, 'slice'], local_table: [32, 'slice'], affinity_seconds: [40, 'u32'], check: [44, 'u32'] } },
    frontend_key6: { size: 20, fields: { address: [0, 'addr6'], port: [16, 'be16'], protocol: [18, 'u8'] } },
    backend4: { size: 12, fields: { address: [0, 'addr4'], port: [4, 'be16'], protocol: [6, 'u8'], flags: [7, 'u8'], generation: [8, 'u32'] } },
    backend6: { size: 24, fields: { address: [0, 'addr6'], port: [16, 'be16'], protocol: [18, 'u8'], flags: [19, 'u8'], generation: [20, 'u32'] } },
    source_range_key4: { size: 12, fields: { prefix_length: [0, 'u32'], frontend: [4, 'be32'], address: [8, 'addr4'] } },
    source_range_key6: { size: 24, fields: { prefix_length: [0, 'u32'], frontend: [4, 'be32'], address: [8, 'addr6'] } },
    device: { size: 32, fields: { address6: [0, 'addr6'], address4: [16, 'addr4'], mtu: [20, 'u32'], mac: [24, 'mac'], flags: [30, 'u16'] } },
    prefix4: { size: 8, fields: { network: [0, 'addr4'], mask: [4, 'addr4'] } },
    prefix6: { size: 32, fields: { network: [0, 'addr6'], mask: [16, 'addr6'] } },
    settings: { size: 712, fields: { host_netns_cookie: [0, 'u64'], flags: [8, 'u32'], jiffies_per_second: [12, 'u32'], tcp_syn_timeout: [16, 'u32'], tcp_established_timeout: [20, 'u32'], tcp_close_timeout: [24, 'u32'], udp_timeout: [28, 'u32'], udp_stream_timeout: [32, 'u32'], next_hop_age: [36, 'u32'], route_generation: [40, 'u32'], mark: [44, 'u32'], snat_first: [48, 'u16'], snat_last: [50, 'u16'], service_count4: [52, 'u32'], service_count6: [56, 'u32'], local_count4: [60, 'u32'], local_count6: [64, 'u32'], service4: [72, 'prefix4*8'], local4: [136, 'prefix4*8'], service6: [200, 'prefix6*8'], local6: [456, 'prefix6*8'] } },
    next_hop4: { size: 52, fields: { check: [0, 'u32'], backend: [4, 'u32'], generation: [8, 'u32'], entered: [12, 'u32'], ifindex: [16, 'u32'], route_generation: [20, 'u32'], resolved: [24, 'u32'], mtu: [28, 'u16'], destination_mac: [32, 'mac'], source_mac: [38, 'mac'], address: [44, 'addr4'], source: [48, 'addr4'] } },
    next_hop6: { size: 76, fields: { check: [0, 'u32'], backend: [4, 'u32'], generation: [8, 'u32'], entered: [12, 'u32'], ifindex: [16, 'u32'], route_generation: [20, 'u32'], resolved: [24, 'u32'], mtu: [28, 'u16'], destination_mac: [32, 'mac'], source_mac: [38, 'mac'], address: [44, 'addr6'], source: [60, 'addr6'] } },
    flow_key4: { size: 16, fields: { source: [0, 'addr4'], destination: [4, 'addr4'], source_port: [8, 'be16'], destination_port: [10, 'be16'], protocol: [12, 'u8'] } },
    flow4: { size: 60, fields: { frontend: [0, 'u32'], backend: [4, 'u32'], generation: [8, 'u32'], seen: [12, 'u32'], ifindex: [16, 'u32'], route_generation: [20, 'u32'], resolved: [24, 'u32'], mtu: [28, 'u16'], flags: [30, 'u16'], source_port: [32, 'be16'], destination_port: [34, 'be16'], destination_mac: [36, 'mac'], source_mac: [42, 'mac'], source: [48, 'addr4'], destination: [52, 'addr4'], next_hop: [56, 'addr4'] } },
    flow_key6: { size: 40, fields: { source: [0, 'addr6'], destination: [16, 'addr6'], source_port: [32, 'be16'], destination_port: [34, 'be16'], protocol: [36, 'u8'] } },
    flow6: { size: 96, fields: { frontend: [0, 'u32'], backend: [4, 'u32'], generation: [8, 'u32'], seen: [12, 'u32'], ifindex: [16, 'u32'], route_generation: [20, 'u32'], resolved: [24, 'u32'], mtu: [28, 'u16'], flags: [30, 'u16'], source_port: [32, 'be16'], destination_port: [34, 'be16'], destination_mac: [36, 'mac'], source_mac: [42, 'mac'], source: [48, 'addr6'], destination: [64, 'addr6'], next_hop: [80, 'addr6'] } },
    affinity_key: { size: 24, fields: { frontend: [0, 'u32'], kind: [4, 'u32'], client: [8, 'addr6'] } },
    affinity: { size: 16, fields: { backend: [0, 'u32'], generation: [4, 'u32'], seen: [8, 'u32'] } },
    socket_key: { size: 32, fields: { cookie: [0, 'u64'], address: [8, 'addr6'], port: [24, 'be16'], protocol: [26, 'u8'], direction: [27, 'u8'] } },
    socket_flow: { size: 36, fields: { address: [0, 'addr6'], port: [16, 'be16'], frontend: [20, 'u32'], backend: [24, 'u32'], generation: [28, 'u32'], seen: [32, 'u32'] } },
    self_test: { size: 32, fields: { runs: [0, 'u64'], netns_cookie: [8, 'u64'], jiffies: [16, 'u64'], ktime_ns: [24, 'u64'] } },
    features: { size: 8, fields: { set_retval: [0, 'u8'], checksum_ipv6: [1, 'u8'] } },
  },
  maps: {
    verdicts: { key: 'u32', value: 'verdict_count' },
    service_counts: { key: 'u32', value: 'service_count' },
    frontends4: { key: 'frontend_key4', value: 'frontend' },
    frontends6: { key: 'frontend_key6', value: 'frontend' },
    slots: { key: 'u32', value: 'u32' },
    backends4: { key: 'u32', value: 'backend4' },
    backends6: { key: 'u32', value: 'backend6' },
    addresses4: { key: 'addr4', value: 'u32' },
    addresses6: { key: 'addr6', value: 'u32' },
    source_ranges4: { key: 'source_range_key4', value: 'u32' },
    source_ranges6: { key: 'source_range_key6', value: 'u32' },
    devices: { key: 'u32', value: 'device' },
    snat_ports: { key: 'u32', value: 'u64' },
    settings: { key: 'u32', value: 'settings' },
    next_hops4: { key: 'u32', value: 'next_hop4' },
    next_hops6: { key: 'u32', value: 'next_hop6' },
    flows4: { key: 'flow_key4', value: 'flow4' },
    flows6: { key: 'flow_key6', value: 'flow6' },
    new_flows4: { key: 'flow_key4', value: 'flow4' },
    new_flows6: { key: 'flow_key6', value: 'flow6' },
    affinities: { key: 'affinity_key', value: 'affinity' },
    socket_flows: { key: 'socket_key', value: 'socket_flow' },
    exempt_cgroups: { key: 'u64', value: 'u32' },
    self_tests: { key: 'u32', value: 'self_test' },
  },
  enums: {
    verdict: Verdict,
    frontend_flag: FrontendFlag,
    backend_flag: BackendFlag,
    address_flag: AddressFlag,
    device_flag: DeviceFlag,
    setting_flag: SettingFlag,
    flow_flag: FlowFlag,
    client_kind: ClientKind,
    socket_direction: SocketDirection,
    hook: Hook,
  },
};
