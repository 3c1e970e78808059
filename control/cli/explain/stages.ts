// Which hooks meet the connection, in which order, and which of them decides? The socket hook first, for processes it serves; what it leaves
// alone is decided where the packet is seen.

import { AddressFlag, SettingFlag } from '../../abi/layout.gen.ts';
import { addressKind, familyOf } from '../../address.ts';
import type { Entrance } from '../../kernel/entrance.ts';
import { mapsOf } from '../../kernel/held.ts';
import type { Maps } from '../../kernel/maps.ts';
import { type NewFlow, type Walk, type WalkHook, walk } from '../../kernel/walk.ts';
import type { Destination } from '../../model/account.ts';
import type { Address } from '../../model/model.ts';

export interface Stage {
  readonly hook: WalkHook;
  readonly walk: Walk;
  /** Why the hook left it alone, where it did. */
  readonly left: string | undefined;
}

export const PROTOCOLS = { TCP: 6, UDP: 17 } as const;

/** Why the socket hook does not decide. */
function leftBySocket(result: Walk, maps: Maps, flow: NewFlow): string | undefined {
  const flags = maps.settings.get(0)?.flags ?? 0;
  const local = flow.local === true;
  if (!(flags & (local ? SettingFlag.SETTING_SOCKET_HOST : SettingFlag.SETTING_SOCKET_PODS)))
    return local ? 'the socket hook is off' : 'the socket hook does not serve pods';
  if (!local && flow.protocol !== PROTOCOLS.TCP) return 'it serves pods for TCP only (10.3)';
  if (result.verdict === 'PASS_SOCKET') return 'no frontend';
  if (result.verdict !== 'PASS_ABSTAIN') return undefined;
  if (result.policy === 'Local') return 'Local policy and no endpoint here: the silence is left to the packets (4.3)';
  return 'the source decides and is not known before there is a packet (7.3, 0.2)';
}

/** The packets of the node itself to an address of its own pass no NIC. */
function staysInside(maps: Maps, destination: Address): boolean {
  const kind = addressKind(destination);
  if (kind === 'loopback' || kind === 'unspecified') return true;
  return ((mapsOf(maps, familyOf(destination)).addresses.get(destination) ?? 0) & AddressFlag.ADDRESS_NODE) !== 0;
}

/** The hooks in their order; the last one decides. At least one. */
export function stagesOf(maps: Maps, source: Address, to: Destination, entrance: Pick<Entrance, 'who'>): Stage[] {
  const flow = { source, destination: to.address, port: to.port, protocol: PROTOCOLS[to.protocol] };
  if (entrance.who === 'outside') return [{ hook: 'nic', walk: walk(maps, { ...flow, hook: 'nic' }), left: undefined }];
  const call: NewFlow = { ...flow, hook: 'socket', local: entrance.who === 'node' };
  const atSocket = walk(maps, call);
  const left = leftBySocket(atSocket, maps, call);
  const first: Stage = { hook: 'socket', walk: atSocket, left };
  if (left === undefined) return [first];
  if (entrance.who === 'pod') return [first, { hook: 'pod', walk: walk(maps, { ...flow, hook: 'pod' }), left: undefined }];
  if (staysInside(maps, to.address)) return [first];
  return [first, { hook: 'node', walk: walk(maps, { ...flow, hook: 'node' }), left: undefined }];
}
