// At which NICs does XDP run, and why not at the others? Native where the driver runs it; generic XDP is never used, because it sees
// checksums that are not finished. tc is complete without it, so it comes and goes, and is replaced in place, while traffic flows.

import { existsSync, mkdirSync, readdirSync, renameSync } from 'node:fs';
import type { Problem } from '../model/model.ts';
import type { RoleChoice } from './links.ts';
import type { Native } from './native.ts';
import type { Link } from './netlink.ts';
import type { Network } from './network.ts';
import { removePins } from './pins.ts';

/** `auto`: at every NIC where nothing is known against it. `native`: at every Ethernet NIC, and a refusal is a Problem. (11.2) */
export type XdpMode = 'auto' | 'native' | 'off';

/** enum bpf_attach_type. */
const BPF_XDP = 37;
/** linux/if_link.h: by the driver or not at all. */
const XDP_FLAGS_DRV_MODE = 1 << 2;

/** Is XDP wanted at a NIC? */
export interface XdpChoice {
  readonly wanted: boolean;
  /** In a few words. */
  readonly why: string;
}

/** What is said about each device that has the role of a NIC, by ifindex. refused: where tc is not complete. Pure. */
export function xdpChoices(
  roles: ReadonlyMap<number, RoleChoice>,
  network: Network,
  mode: XdpMode,
  refused: ReadonlySet<number>,
): Map<number, XdpChoice> {
  const choices = new Map<number, XdpChoice>();
  const trunks = new Set(
    [...network.links.values()].filter((link) => link.kind === 'vlan' && !link.peerElsewhere).map((link) => link.peer),
  );
  for (const [ifindex, { role }] of roles) {
    const link = network.links.get(ifindex);
    if (link === undefined || (role !== 'nic' && role !== 'l3')) continue;
    const against = objection(link, role, mode, refused.has(ifindex), trunks.has(ifindex));
    choices.set(ifindex, against === undefined ? { wanted: true, why: 'the driver runs it' } : { wanted: false, why: against });
  }
  return choices;
}

function objection(link: Link, role: 'nic' | 'l3', mode: XdpMode, refused: boolean, trunk: boolean): string | undefined {
  if (mode === 'off') return 'switched off by sluice.xdp';
  if (refused) return 'the tc programs are not there, to which XDP passes what it does not finish';
  if (role === 'l3') return 'no Ethernet header';
  if (mode === 'native') return undefined;
  // Its other end sends checksums that no hardware will finish, and takes frames of XDP only where a program runs there: nobody here sees either.
  if (link.kind === 'veth')
    return 'veth: its other end decides whether XDP can send, which is not seen from here (sluice.xdp: native if it can)';
  // The NIC may take a tag out of the frame before XDP sees it: another network's packet would look like ours.
  if (trunk) return 'VLAN devices are over it';
  return undefined;
}

/** No driver is known to run XDP without fragments on frames longer than this: about a page less what the kernel puts around them. */
const FRAME_MOST = 3498;

/** A driver's refusal in words. */
export function refusalText(error: Error, mtu: number): string {
  const code = 'code' in error ? String(error.code) : error.message;
  if (code === 'EBUSY' || code === 'EEXIST') return `another XDP program is there (${code})`;
  if (code === 'EOPNOTSUPP') return `the driver has no native XDP (${code})`;
  // veth says ERANGE about its other end's MTU.
  if (code === 'ERANGE' || mtu > FRAME_MOST) return `the driver refuses (${code}): the MTU is too large for XDP`;
  return `the driver refuses (${code})`;
}

/** What runs at one NIC. */
export interface XdpState {
  readonly native: boolean;
  readonly why: string;
}

export interface Xdp {
  /** ifindexes of the devices where our native program runs: XDP may send by them. */
  running(): ReadonlySet<number>;
  /**
   * Makes it so: the program is at the devices that the mode and their roles ask for, and nowhere else. refused: devices where tc is not
   * complete. changed: running() is another set now; it is called before a program goes and after one came. One at a time.
   */
  follow(
    roles: ReadonlyMap<number, RoleChoice>,
    network: Network,
    mode: XdpMode,
    refused: ReadonlySet<number>,
    changed: () => void,
  ): Promise<void>;
  /** As last followed; undefined: the device is no NIC. */
  look(ifindex: number): XdpState | undefined;
  problems(): readonly Problem[];
}

/**
 * directory: of the pinned links, named by ifindex; those that are there are an earlier agent's. others: such directories of other generations,
 * whose links become ours with the first program: a device has one XDP program. load: the program's descriptor, called when it is first wanted.
 */
export function openXdp(native: Native, directory: string, others: readonly string[], load: () => Promise<number>): Xdp {
  const running = new Set<number>();
  const states = new Map<number, XdpState>();
  let problems: Problem[] = [];
  let loaded: { readonly program: number } | { readonly refusal: Error } | undefined;

  const directories = [directory, ...others];
  const pinOf = (ifindex: number) => {
    const holder = directories.find((path) => existsSync(`${path}/${ifindex}`)) ?? directory;
    return `${holder}/${ifindex}`;
  };
  const pinned = () => [...new Set(directories.flatMap((path) => (existsSync(path) ? readdirSync(path) : [])))].map(Number);

  /** The pinned link of a device; a link whose device is gone, or that somebody detached, is removed. */
  function openLink(ifindex: number): number | undefined {
    const link = native.openPin(pinOf(ifindex));
    if (link === undefined || native.linkInfo(link).ifindex === ifindex) return link;
    native.closeFd(link);
    removePins(pinOf(ifindex));
    return undefined;
  }

  async function attach(ifindex: number, program: number): Promise<void> {
    const there = openLink(ifindex);
    if (there !== undefined && pinOf(ifindex) !== `${directory}/${ifindex}`) renameSync(pinOf(ifindex), `${directory}/${ifindex}`);
    const link = there ?? (await native.linkCreateAside(program, ifindex, BPF_XDP, XDP_FLAGS_DRV_MODE));
    try {
      if (there === undefined) native.pin(link, pinOf(ifindex));
      else if (native.linkInfo(link).programId !== native.programInfo(program).id) native.linkUpdate(link, program);
    } finally {
      native.closeFd(link);
    }
  }

  /** At once: a link that only loses its pin is detached later, and nothing could be attached until then. */
  function detach(ifindex: number): void {
    const link = openLink(ifindex);
    if (link === undefined) return;
    native.linkDetach(link);
    native.closeFd(link);
    removePins(pinOf(ifindex));
  }

  /** Loads once: what the kernel refused it refuses again. */
  async function program(): Promise<number | undefined> {
    if (loaded === undefined) {
      try {
        loaded = { program: await load() };
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        loaded = { refusal: error };
      }
    }
    return 'program' in loaded ? loaded.program : undefined;
  }

  async function attachAll(wanted: readonly number[], fd: number): Promise<Map<number, Error>> {
    const refusals = new Map<number, Error>();
    for (const ifindex of wanted) {
      try {
        await attach(ifindex, fd);
        running.add(ifindex);
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        running.delete(ifindex);
        // A device that went meanwhile needs nothing: the message that it is gone is on its way.
        if (!('code' in error && error.code === 'ENODEV')) refusals.set(ifindex, error);
      }
    }
    return refusals;
  }

  for (const ifindex of pinned()) {
    const link = openLink(ifindex);
    if (link === undefined) continue;
    native.closeFd(link);
    running.add(ifindex);
  }

  return {
    running: () => running,
    async follow(roles, network, mode, refused, changed) {
      mkdirSync(directory, { recursive: true });
      const choices = xdpChoices(roles, network, mode, refused);
      const asked = [...choices].filter(([, { wanted }]) => wanted).map(([ifindex]) => ifindex);
      const fd = asked.length > 0 ? await program() : undefined;
      const wanted = fd === undefined ? [] : asked;

      // First nobody sends by it any more, then it goes.
      const leaving = pinned().filter((ifindex) => !wanted.includes(ifindex));
      if (leaving.filter((ifindex) => running.delete(ifindex)).length > 0) changed();
      for (const ifindex of leaving) detach(ifindex);

      const before = [...running].join();
      const refusals = fd === undefined ? new Map<number, Error>() : await attachAll(wanted, fd);
      if ([...running].join() !== before) changed();

      states.clear();
      problems = loaded !== undefined && 'refusal' in loaded && asked.length > 0 ? [notLoaded(loaded.refusal)] : [];
      for (const [ifindex, choice] of choices) {
        const link = network.links.get(ifindex);
        const refusal = refusals.get(ifindex);
        const why =
          refusal !== undefined
            ? refusalText(refusal, link?.mtu ?? 0)
            : running.has(ifindex) || !choice.wanted
              ? choice.why
              : 'the kernel refused the program';
        states.set(ifindex, { native: running.has(ifindex), why });
        if (mode === 'native' && !running.has(ifindex)) problems.push(notNative(link?.name ?? String(ifindex), why));
      }
    },
    look: (ifindex) => states.get(ifindex),
    problems: () => problems,
  };
}

function notLoaded(error: Error): Problem {
  return { object: 'Agent', field: 'xdp', reason: 'LoadFailed', message: `no XDP on this node, tc serves its packets: ${error.message}` };
}

function notNative(name: string, why: string): Problem {
  return { object: 'Agent', field: name, reason: 'XdpRefused', message: `no native XDP at device ${name}, tc serves its packets: ${why}` };
}
