// What the addon does with devices, as a program that must be started in an empty network namespace. Exits with 1 at the first surprise.

import assert from 'node:assert/strict';
import { execaSync } from 'execa';
import { buildDirectory, loadNative } from '../../control/kernel/addon.ts';

const [TCX_INGRESS, TCX_EGRESS, BEFORE] = [46, 47, 8];
const [RTM_GETLINK, RTM_NEWLINK, RTM_DELLINK, RTMGRP_LINK] = [18, 16, 17, 1];
const [REQUEST, ACK, DUMP] = [1, 4, 0x300];
/** Long enough for a busy machine; only a failure waits so long. */
const PATIENCE_MS = 10_000;

const native = loadNative();
const ip = (...args: string[]) => execaSync('ip', args);
const object = native.load(`${buildDirectory}bpf/tc.o`, { programs: ['probe_clock', 'pod_egress'] });
const { probe_clock: one, pod_egress: other } = object.programs as { probe_clock: number; pod_egress: number };
const idOf = (program: number) => native.programInfo(program).id;

ip('link', 'add', 'name', 'a', 'type', 'veth', 'peer', 'name', 'b');
const index = Number(/^(\d+): a@/.exec(ip('-o', 'link', 'show', 'a').stdout)![1]);

/** An RTM message with struct ifinfomsg. */
function linkMessage(type: number, flags: number, ifindex: number): Uint8Array {
  const message = new Uint8Array(32);
  const view = new DataView(message.buffer);
  view.setUint32(0, 32, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setInt32(20, ifindex, true);
  return message;
}

function typesOf(messages: Uint8Array): number[] {
  const view = new DataView(messages.buffer, messages.byteOffset, messages.byteLength);
  const types: number[] = [];
  for (let at = 0; at < view.byteLength; at += (view.getUint32(at, true) + 3) & ~3) types.push(view.getUint16(at + 4, true));
  return types;
}

function links(): void {
  assert.deepEqual(native.query(index, TCX_INGRESS), { programIds: [], linkIds: [] });
  const last = native.linkCreate(one, index, TCX_INGRESS, 0);
  const first = native.linkCreate(other, index, TCX_INGRESS, BEFORE);
  const ids = [native.linkInfo(first).id, native.linkInfo(last).id];
  assert.deepEqual(native.query(index, TCX_INGRESS), { programIds: [idOf(other), idOf(one)], linkIds: ids });
  assert.deepEqual(native.query(index, TCX_EGRESS).programIds, []);
  const { ifindex, attachType, programId } = native.linkInfo(first);
  assert.deepEqual([ifindex, attachType, programId], [index, TCX_INGRESS, idOf(other)]);

  // A hook takes a program once.
  assert.throws(() => native.linkUpdate(first, one), { code: 'EEXIST' });
  native.closeFd(last);
  native.linkUpdate(first, one);
  assert.deepEqual(native.query(index, TCX_INGRESS), { programIds: [idOf(one)], linkIds: ids.slice(0, 1) });
  native.linkDetach(first);
  assert.deepEqual(native.query(index, TCX_INGRESS).programIds, []);
  native.closeFd(first);
  assert.throws(() => native.query(index, 9999), { code: 'EINVAL' });
  assert.throws(() => native.query(4242, TCX_INGRESS), { code: 'ENODEV' });
}

function filters(): void {
  assert.equal(native.tcQuery(index, 'ingress', 1, 1), undefined);
  native.tcAttach(index, 'ingress', one, 1, 1);
  assert.equal(native.tcQuery(index, 'ingress', 1, 1), idOf(one));
  assert.equal(native.tcQuery(index, 'egress', 1, 1), undefined);
  native.tcAttach(index, 'ingress', other, 1, 1);
  native.tcAttach(index, 'egress', one, 1, 1);
  assert.equal(native.tcQuery(index, 'ingress', 1, 1), idOf(other));
  native.tcDetach(index, 'ingress', 1, 1);
  assert.equal(native.tcQuery(index, 'ingress', 1, 1), undefined);
  assert.equal(native.tcQuery(index, 'egress', 1, 1), idOf(one));
  assert.throws(() => native.tcAttach(4242, 'ingress', one, 1, 1), { code: 'ENODEV' });
}

function requests(): void {
  const socket = native.netlinkOpen(0, 0);
  assert.deepEqual(typesOf(native.netlinkRequest(socket, linkMessage(RTM_GETLINK, REQUEST | DUMP, 0))), [
    RTM_NEWLINK,
    RTM_NEWLINK,
    RTM_NEWLINK,
  ]);
  assert.deepEqual(typesOf(native.netlinkRequest(socket, linkMessage(RTM_GETLINK, REQUEST, index))), [RTM_NEWLINK]);
  assert.throws(() => native.netlinkRequest(socket, linkMessage(RTM_GETLINK, REQUEST, 4242)), { code: 'ENODEV' });
  assert.deepEqual(typesOf(native.netlinkRequest(socket, linkMessage(RTM_DELLINK, REQUEST | ACK, index))), []);
  assert.deepEqual(typesOf(native.netlinkRequest(socket, linkMessage(RTM_GETLINK, REQUEST | DUMP, 0))), [RTM_NEWLINK]);
  native.closeFd(socket);
}

/** What the listener hears until it has heard a message of that type. */
async function hear(type: number, cause: () => void): Promise<void> {
  const socket = native.netlinkOpen(0, RTMGRP_LINK);
  const heard = Promise.withResolvers<void>();
  const timeout = setTimeout(() => heard.reject(new Error(`no message ${type}`)), PATIENCE_MS);
  const stop = native.netlinkListen(socket, (messages) => {
    if (messages !== 'overrun' && typesOf(messages).includes(type)) heard.resolve();
  });
  try {
    cause();
    await heard.promise;
  } finally {
    clearTimeout(timeout);
    stop();
    stop();
    native.closeFd(socket);
  }
}

/** Hundreds of notifications while the loop is busy: stopping neither waits for them nor delivers them afterwards. */
function stopUnderLoad(): void {
  const socket = native.netlinkOpen(0, RTMGRP_LINK);
  const stop = native.netlinkListen(socket, () => assert.fail('heard after stop'));
  for (let i = 0; i < 300; i++) native.netlinkRequest(request, linkMessageUp(i % 2 === 0));
  stop();
  native.closeFd(socket);
}

const IFF_UP = 1;
const request = native.netlinkOpen(0, 0);

/** Sets the loopback device up or down: a notification each. */
function linkMessageUp(up: boolean): Uint8Array {
  const message = linkMessage(RTM_NEWLINK, REQUEST | ACK, 1);
  new DataView(message.buffer).setUint32(24, up ? IFF_UP : 0, true);
  new DataView(message.buffer).setUint32(28, IFF_UP, true);
  return message;
}

links();
filters();
requests();
await hear(RTM_NEWLINK, () => ip('link', 'add', 'name', 'c', 'type', 'veth', 'peer', 'name', 'd'));
await hear(RTM_DELLINK, () => ip('link', 'del', 'c'));
stopUnderLoad();
native.probeConnect(4);
native.probeConnect(6);
native.closeFd(request);
object.close();
