// Which program touches the packet, at which device, and why is it not XDP? And is a program there at all?

import { DeviceFlag } from '../../abi/layout.gen.ts';
import type { Maps } from '../../kernel/maps.ts';
import type { DeviceStatus } from '../../kernel/status.ts';
import type { Ground } from './explanation.ts';
import type { Stage } from './stages.ts';

function xdpRuns(maps: Maps, ifindex: number): boolean {
  return ((maps.devices.get(ifindex)?.flags ?? 0) & DeviceFlag.DEVICE_XDP) !== 0;
}

/** What XDP does with it at a NIC where it runs. */
function* xdpWords({ walk }: Stage, name: string): Generator<string> {
  if (walk.verdict !== undefined) {
    yield walk.verdict.startsWith('PASS') ? `XDP at ${name} passes it untouched` : `XDP at ${name} does it, before the kernel's stack`;
    return;
  }
  const masqueraded = walk.candidates.filter(({ masquerade }) => masquerade);
  if (masqueraded.length > 0) yield `XDP at ${name} sends what goes to a backend elsewhere, once the way to it is known; before, tc does`;
  if (masqueraded.length < walk.candidates.length)
    yield `XDP at ${name} leaves what goes to a backend of this node to tc: the kernel's stack carries it on`;
}

function* xdpLines(stage: Stage, { maps, entrance }: Ground, status: DeviceStatus | undefined): Generator<string> {
  const { device } = entrance;
  if (stage.hook !== 'nic' || device === undefined) return;
  if (xdpRuns(maps, device.ifindex)) yield* xdpWords(stage, device.name);
  else yield `not XDP at ${device.name}: ${status?.xdp?.why ?? 'it does not run there (a running agent knows why)'}`;
}

/** In sentences, the hook that decides first. */
export function actingOf(stage: Stage, ground: Ground): string[] {
  const { entrance, account } = ground;
  const { device } = entrance;
  const status = account?.devices.find(({ ifindex }) => ifindex === device?.ifindex);
  const lines: string[] = [];
  if (stage.hook === 'socket')
    lines.push(
      stage.left === undefined
        ? 'the socket hook decides when the process calls connect or sendmsg'
        : 'no hook: such a packet goes through the loopback device, which has no program',
    );
  else if (stage.hook === 'node') lines.push('tc decides at the egress of the NIC that the packet leaves by');
  else if (device === undefined) lines.push(`tc would decide where it enters; ${entrance.why}`);
  else
    lines.push(
      `tc decides at the ingress of ${device.name}${status === undefined ? '' : `, a device of role ${status.role} (${status.why})`}`,
    );
  lines.push(...xdpLines(stage, ground, status));
  if (stage.hook !== 'socket' && status !== undefined && status.role !== 'none' && status.mode === undefined)
    lines.push(
      `BUT NO PROGRAM OF OURS IS ATTACHED AT ${status.name}: ${status.refusal ?? 'somebody removed it; "sluice check" says more'}`,
    );
  if (stage.hook !== 'socket' && status?.role === 'none' && !status.why.startsWith('a bridge'))
    lines.push(`BUT ${status.name} HAS NO PROGRAM: ${status.why}`);
  if (status !== undefined && status.before.length > 0) lines.push(`before us at ${status.name}: ${status.before.join(', ')}`);
  return lines;
}
