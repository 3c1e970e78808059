// What can the addon do? The types of native/: bytes and descriptors. It knows no address and no Service.
// Every call that the kernel refuses throws an Error with `code` (`EPERM`, `E2BIG`, …) and `syscall`.

/** A loaded BPF object. Close it when its programs are attached and pinned; maps live on through their descriptors. */
export interface NativeObject {
  /** Map descriptors by name; owned by the caller of load (closed with close()). */
  readonly maps: Readonly<Record<string, number>>;
  /** Program descriptors by name. */
  readonly programs: Readonly<Record<string, number>>;
  close(): void;
}

export interface LoadOptions {
  /** Existing maps to use in place of new ones, by name. */
  maps?: Record<string, number>;
  /** max_entries by map name, for maps that are created. */
  mapSizes?: Record<string, number>;
  /** Initial contents of read-only sections, by section name (`.rodata.features`). */
  rodata?: Record<string, Uint8Array>;
  /** Programs to load; absent: all. */
  programs?: string[];
}

export interface MapInfo {
  name: string;
  type: number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
  id: number;
}

export interface ProgramInfo {
  id: number;
  name: string;
  type: number;
  tag: string;
  verifiedInstructions: number;
}

export interface TestRunResult {
  returnValue: number;
  /** Packet after the run. */
  packet: Uint8Array;
  /** Mean duration of one repeat in ns. */
  durationNs: number;
  /** struct __sk_buff after the run, when ctx was given. */
  ctx: Uint8Array | undefined;
}

/** Kernel numbers of enum bpf_attach_type are given by the caller. */
export interface Native {
  /** Loads an ELF object. On refusal the error's `log` is the end of the verifier's log. */
  load(path: string, options: LoadOptions): NativeObject;
  /** The same in a thread of the pool: the verifier takes hundreds of ms for the big objects, and the event loop turns meanwhile. */
  loadAside(path: string, options: LoadOptions): Promise<NativeObject>;

  // maps -------------------------------------------------------------------------------------------------------------
  /** A new map without flags; type: enum bpf_map_type. */
  mapCreate(name: string, type: number, keySize: number, valueSize: number, maxEntries: number): number;
  mapInfo(fd: number): MapInfo;
  /** Value bytes (per-CPU maps: values of all possible CPUs one after the other, each padded to 8), or undefined when absent. */
  mapLookup(fd: number, key: Uint8Array): Uint8Array | undefined;
  /** flags: 0 any, 1 NOEXIST, 2 EXIST. */
  mapUpdate(fd: number, key: Uint8Array, value: Uint8Array, flags: number): void;
  /** true when deleted, false when it was absent. */
  mapDelete(fd: number, key: Uint8Array): boolean;
  /** Writes count entries from packed keys and values; returns how many were done (throws with `done` set on a refusal). */
  mapUpdateBatch(fd: number, keys: Uint8Array, values: Uint8Array, count: number, flags: number): number;
  mapDeleteBatch(fd: number, keys: Uint8Array, count: number): number;
  /** A page of entries. `cursor` undefined: from the start; the returned cursor undefined: the end. Falls back to get_next_key + lookup where batches are not supported. */
  mapPage(
    fd: number,
    cursor: Uint8Array | undefined,
    limit: number,
  ): { keys: Uint8Array; values: Uint8Array; count: number; cursor: Uint8Array | undefined };
  /** The memory of a BPF_F_MMAPABLE array (value stride rounded up to 8). Unmapped when collected. */
  mapMemory(fd: number): ArrayBuffer;

  // pins and descriptors ---------------------------------------------------------------------------------------------
  pin(fd: number, path: string): void;
  /** Opens a pinned map, program or link; undefined when there is no such file. */
  openPin(path: string): number | undefined;
  closeFd(fd: number): void;
  /** Takes an exclusive flock on a directory or file; undefined when another holds it. The lock ends with closeFd. */
  lock(path: string): number | undefined;
  mount(source: string, target: string, type: string): void;
  /** f_type of statfs(2). */
  fileSystemType(path: string): number;

  // programs and links -----------------------------------------------------------------------------------------------
  programInfo(fd: number): ProgramInfo;
  testRun(program: number, packet: Uint8Array, options: { ctx?: Uint8Array; repeat?: number; packetSize?: number }): TestRunResult;
  /** BPF_LINK_CREATE. target: ifindex for device hooks, directory descriptor for cgroup hooks. flags: e.g. BPF_F_BEFORE. */
  linkCreate(program: number, target: number, attachType: number, flags: number): number;
  /**
   * The same in a thread of the pool, descriptors open until it resolves: at a device the kernel waits until no packet is on its way through the
   * programs before (16 ms and more), a driver that takes up XDP may begin anew.
   */
  linkCreateAside(program: number, target: number, attachType: number, flags: number): Promise<number>;
  /** BPF_LINK_UPDATE: replaces the program in place. */
  linkUpdate(link: number, program: number): void;
  linkDetach(link: number): void;
  linkInfo(link: number): { id: number; type: number; programId: number; ifindex: number; attachType: number; cgroupId: bigint };
  /** Ids of the programs attached at a hook in order (BPF_PROG_QUERY). target as linkCreate. Throws EINVAL where the kernel has no such hook. */
  query(target: number, attachType: number): { programIds: number[]; linkIds: number[] };
  /** clsact and direct-action filters for kernels without tcx. direction 'ingress' | 'egress'. Replaces in place. */
  tcAttach(ifindex: number, direction: 'ingress' | 'egress', program: number, priority: number, handle: number): void;
  tcDetach(ifindex: number, direction: 'ingress' | 'egress', priority: number, handle: number): void;
  /** Program id of that filter, or undefined when it is not there. */
  tcQuery(ifindex: number, direction: 'ingress' | 'egress', priority: number, handle: number): number | undefined;
  /** true when a program of that type may call helper id (tried by loading one instruction pair). */
  probeHelper(programType: number, helper: number): boolean;
  openDirectory(path: string): number;

  // netlink and sockets ----------------------------------------------------------------------------------------------
  /** An AF_NETLINK socket, bound to the multicast groups (bit mask of legacy groups). protocol: 0 ROUTE, 4 SOCK_DIAG. */
  netlinkOpen(protocol: number, groups: number): number;
  /** Sends one request, which may be several messages, and collects the answer up to NLMSG_DONE, ACK or error (thrown with its code). Whole messages, concatenated. */
  netlinkRequest(fd: number, message: Uint8Array): Uint8Array;
  /** Calls back on the main thread with whole messages whenever the socket has some ('overrun' when the kernel dropped some). Returns a stop function. */
  netlinkListen(fd: number, callback: (messages: Uint8Array | 'overrun') => void): () => void;
  /** The 64-bit cookie of the process's own network namespace is learnt by the self test, not here. Connects a UDP socket and closes it: the self test's probe. Errors of routing are not thrown. */
  probeConnect(family: 4 | 6): void;
  /** getsockopt(2) on a new datagram socket of an address family (2: IPv4, 10: IPv6); `question` goes in, as many bytes come back. */
  socketOption(family: number, level: number, name: number, question: Uint8Array): Uint8Array;
}
