// Which packets are measured? Frames with right checksums whose first payload bytes and IPv4 identification take up what the driver
// changes from flow to flow: addresses' last words and ports.

import type { Family, Protocol } from '../control/model/model.ts';
import { addressBytes, buildPacket, checksum, type PacketText } from '../test/lib/packet.ts';

/** What the driver changes between two packets of a turn. */
export interface DrivenFlow {
  readonly source: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** Behind the headers. The driver needs 80 bytes in all, and the first two of these. */
const PAYLOAD = 38;

/** The last 32 bits of an address. */
export function lastWord(address: string): Uint8Array {
  return addressBytes(address).subarray(-4);
}

function portBytes({ sourcePort, destinationPort }: DrivenFlow): Uint8Array {
  return Uint8Array.of(sourcePort >> 8, sourcePort & 255, destinationPort >> 8, destinationPort & 255);
}

/** The frame of one flow, the two fields being the checksum of what changes, so that the sum over both is always nothing. The driver makes every other flow's from it. */
export function frameOf(
  flow: DrivenFlow,
  text: { family: Family; protocol: Protocol; destination: string; flags?: string } & Partial<PacketText>,
): Uint8Array {
  const { family, ...rest } = text;
  const payload = Uint8Array.from({ length: PAYLOAD }, (_, i) => i);
  new DataView(payload.buffer).setUint16(0, checksum(lastWord(flow.source), portBytes(flow)));
  const frame = buildPacket({ dontFragment: true, ...rest, ...flow, payload });
  if (family === 4) {
    const header = new DataView(frame.buffer, 14, 20);
    header.setUint16(4, checksum(lastWord(flow.source)));
    header.setUint16(10, 0);
    header.setUint16(10, checksum(frame.subarray(14, 34)));
  }
  return frame;
}
