// What is asked? The two ends of a connection, as people write them.

import { familyOf, parseAddress } from '../../address.ts';
import type { Destination, ServiceName } from '../../model/account.ts';
import type { Address, Family } from '../../model/model.ts';
import { Refusal } from '../exits.ts';
import { printable } from '../text.ts';

export interface Client {
  readonly address: Address;
  /** Its port, where one connection is meant. */
  readonly port: number | undefined;
}

function wrong(option: string, given: string, allowed: string): Refusal {
  return new Refusal('usage', `${option}: given "${printable(given)}"; allowed: ${allowed}`);
}

function portOf(text: string | undefined): number | undefined {
  const port = Number(text);
  return text !== undefined && /^\d{1,5}$/.test(text) && port >= 1 && port <= 65535 ? port : undefined;
}

/** `10.0.0.1`, `10.0.0.1:4711`, `fd00::1`, `[fd00::1]:4711`. */
export function parseClient(text: string): Client {
  const whole = parseAddress(text) ?? parseAddress(/^\[([^\]]+)\]$/.exec(text)?.[1] ?? '');
  if (whole !== undefined) return { address: whole, port: undefined };
  const parts = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  const address = parseAddress(parts?.[1] ?? parts?.[2] ?? '');
  const port = portOf(parts?.[3]);
  if (address === undefined || port === undefined) throw wrong('--from', text, 'ADDRESS or ADDRESS:PORT, IPv6 with a port in brackets');
  return { address, port };
}

const FORMS = 'ADDRESS:PORT/tcp or /udp, IPv6 in brackets, or NAMESPACE/SERVICE[:PORT], its port by name or number';

/** `10.96.0.10:80/tcp`, `[fd96::10]:80/udp`, `default/web:http`. family: of the client, for a Service by name. */
export function parseTarget(text: string, family: Family): Destination | ServiceName {
  const parts = /^(?:\[([^\]]+)\]|([^:/[\]]+)):(\d+)\/(tcp|udp)$/i.exec(text);
  if (parts !== null) {
    const address = parseAddress(parts[1] ?? parts[2] ?? '');
    const port = portOf(parts[3]);
    if (address === undefined || port === undefined) throw wrong('--to', text, FORMS);
    if (familyOf(address) !== family) throw wrong('--to', text, `an address of IPv${family}, as --from is`);
    return { address, port, protocol: parts[4]!.toUpperCase() === 'TCP' ? 'TCP' : 'UDP' };
  }
  const named = /^([^/:]+\/[^/:]+)(?::([^/:]*))?$/.exec(text);
  if (named === null) throw wrong('--to', text, FORMS);
  return { service: named[1]!, portName: named[2] ?? '', family };
}
