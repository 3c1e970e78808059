// XDP before tc, as the kernel runs them: what the XDP program finishes is finished, what it passes goes on byte for byte.
import assert from 'node:assert/strict';
import type { Native } from '../../control/kernel/native.ts';
import { leftToTc } from '../flows/hooks.ts';
import type { VerdictName } from './flow.ts';
import { parsePacket } from './packet.ts';
import { mac } from './places.ts';
import { act, assertUntouched } from './request.ts';

/** What a program made of a packet, in the words of tc. */
export interface Outcome {
  readonly hook: 'tc' | 'xdp';
  readonly action: number;
  readonly frame: Uint8Array;
  /** skb mark; 0 in XDP. */
  readonly mark: number;
  readonly verdict: VerdictName;
}

/** enum xdp_action. */
const ABORTED = 0;
const PASS = 2;
const words: Readonly<Record<number, number>> = { 1: act.SHOT, [PASS]: act.UNSPEC, 3: act.REDIRECT, 4: act.REDIRECT };

/** struct xdp_md. kernel 5.15: a test run believes where a packet entered; the device must have an XDP program. */
const md = { size: 24, dataEnd: 4, ingressIfindex: 12 } as const;

/** The context of a frame that entered by a device. */
export function contextOf(frame: Uint8Array, ifindex: number): Uint8Array {
  const ctx = new Uint8Array(md.size);
  const view = new DataView(ctx.buffer);
  view.setUint32(md.dataEnd, frame.length, true);
  view.setUint32(md.ingressIfindex, ifindex, true);
  return ctx;
}

/** Does this kernel take a context for a test run of XDP? Without one every packet enters by the loopback. pass: an object with the program `pass`. */
export function takesContext(native: Native, pass: string): boolean {
  const object = native.load(pass, {});
  try {
    const frame = new Uint8Array(64);
    native.testRun(object.programs.pass!, frame, { ctx: contextOf(frame, 0) });
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EINVAL') return false;
    throw error;
  } finally {
    object.close();
  }
}

/** action: what the XDP program returned. */
export function outcomeOf(action: number, frame: Uint8Array, verdict: VerdictName): Outcome {
  assert.notEqual(action, ABORTED, `${verdict}: the XDP program aborted`);
  const word = words[action];
  assert.ok(word !== undefined, `${verdict}: XDP action ${action}`);
  return { hook: 'xdp', action: word, frame, mark: 0, verdict };
}

/** The outcome of both hooks. late: tc's, asked where XDP passes. Both say the same of it, and XDP finishes all that it can. */
export function eitherHook(frame: Uint8Array, early: Outcome, late: (frame: Uint8Array) => Outcome): Outcome {
  const kind = early.verdict.split('_')[0]!;
  if (early.action !== act.UNSPEC) {
    assert.equal(early.action, kind === 'DROP' ? act.SHOT : act.REDIRECT, `${early.verdict} in XDP`);
    if (kind === 'FORWARD') assert.equal(parsePacket(early.frame).sourceMac, mac('nodeA'), 'source MAC of what XDP sends');
    assert.ok(kind !== 'FORWARD' || parsePacket(early.frame).destinationMac !== mac('nodeA'), 'destination MAC of what XDP sends');
    return early;
  }
  assert.equal(kind, 'PASS', `XDP passed, and counted ${early.verdict}`);
  assertUntouched(frame, early.frame, 'what XDP passes');
  const outcome = late(early.frame);
  if (early.verdict !== 'PASS_TO_TC') assert.equal(outcome.verdict, early.verdict, 'XDP and tc agree');
  const own = /^(FORWARD|DROP|REJECT)/.test(outcome.verdict) && !(outcome.verdict in leftToTc);
  assert.ok(!own, `XDP left ${outcome.verdict} to tc`);
  return outcome;
}
