// A container as a kubelet and a runtime would make it from deploy/: the image's tree under a read-only root, the volumes of the DaemonSet, its
// capabilities and nothing else of root's. Needs no runtime: namespaces, mounts and capsh.
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { parseAllDocuments } from 'yaml';
import type { Lab } from './netns.ts';
import type { NodeName } from './places.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const imageRoot = join(ROOT, 'build/image-root');

interface Volume {
  readonly name: string;
  readonly hostPath?: { readonly path: string; readonly type: string };
  readonly configMap?: { readonly name: string };
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: number };
}

export interface ContainerSpec {
  readonly command: readonly string[];
  readonly args?: readonly string[];
  readonly securityContext: {
    readonly privileged: boolean;
    readonly allowPrivilegeEscalation: boolean;
    readonly readOnlyRootFilesystem: boolean;
    readonly capabilities: { readonly drop: readonly string[]; readonly add: readonly string[] };
  };
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean }[];
}

/** What is read of a DaemonSet's pods. */
export interface PodSpec {
  readonly hostNetwork: boolean;
  readonly initContainers?: readonly ContainerSpec[];
  readonly containers: readonly ContainerSpec[];
  readonly volumes: readonly Volume[];
}

/** Every object of a file of deploy/. */
export function deployed(file: string): { kind: string; [field: string]: unknown }[] {
  return parseAllDocuments(readFileSync(join(ROOT, 'deploy', file), 'utf8')).map((document) => {
    for (const error of document.errors) throw error;
    return document.toJS();
  });
}

/** The pods of the DaemonSet in a file of deploy/. */
function podSpec(file: string): PodSpec {
  const [daemonSet] = deployed(file) as unknown as { spec: { template: { spec: PodSpec } } }[];
  return daemonSet!.spec.template.spec;
}

const AGENT = 'daemonset.yaml';

export function agentContainer(): ContainerSpec {
  return podSpec(AGENT).containers[0]!;
}

/** Names as Kubernetes writes them, without CAP_. */
export function givenCapabilities(): readonly string[] {
  return agentContainer().securityContext.capabilities.add;
}

/** All other capabilities that this kernel knows, as capsh wants them. */
export async function droppedBut(kept: readonly string[]): Promise<string[]> {
  const last = readFileSync('/proc/sys/kernel/cap_last_cap', 'utf8').trim();
  const { stdout } = await execa('capsh', [`--decode=${((1n << (BigInt(last) + 1n)) - 1n).toString(16)}`]);
  const all = stdout.split('=')[1]!.split(',');
  return all.filter((name) => !kept.includes(name.replace(/^cap_/, '').toUpperCase()));
}

export interface ContainerOptions {
  /** The file of deploy/ with its DaemonSet, whose first container it is: the first that a kubelet starts. Default: the agent's. */
  readonly file?: string;
  /** Host paths in place of the DaemonSet's, by volume: the lab's node has its own. */
  readonly volumes: Readonly<Record<string, string>>;
  readonly environment: Readonly<Record<string, string>>;
  /** Directory with token, ca.crt and namespace of the pod's ServiceAccount. */
  readonly account?: string;
  readonly capabilities?: readonly string[];
  /** In place of the DaemonSet's. */
  readonly command?: readonly string[];
}

/** Source, target and `ro` or `rw`, one mount after the other. */
function mountsOf(pod: PodSpec, { volumeMounts }: ContainerSpec, options: ContainerOptions): string[] {
  const volumes = volumeMounts.flatMap(({ name, mountPath, readOnly }) => {
    const volume = pod.volumes.find((one) => one.name === name);
    const source = options.volumes[name] ?? volume?.hostPath?.path;
    if (source === undefined) throw new Error(`the volume ${name} has no place`);
    return [source, mountPath, readOnly ? 'ro' : 'rw'];
  });
  // The kubelet adds it to every pod.
  return options.account === undefined ? volumes : [...volumes, options.account, '/var/run/secrets/kubernetes.io/serviceaccount', 'ro'];
}

/** As runc does it: an overlay of which nobody can write the root, /proc with its settings read-only, /sys, a small /dev, then the volumes. */
const SCRIPT = `
home=$1 image=$2 dropped=$3; shift 3
mount -t tmpfs tmpfs "$home"
mkdir "$home/upper" "$home/work" "$home/root"
root=$home/root
mount -t overlay -o "lowerdir=$image,upperdir=$home/upper,workdir=$home/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/dev"
for device in null zero random urandom; do touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
while [ "$1" != -- ]; do
  mkdir -p "$root$2"
  mount --rbind "$1" "$root$2"
  [ "$3" = rw ] || mount -o remount,bind,ro "$root$2"
  shift 3
done
shift
mount -o remount,ro "$root"
exec capsh --chroot="$root" --drop="$dropped" --no-new-privs --shell="$1" -- "\${@:2}"
`;

/** Starts the container on a node of the lab and leaves it running. */
export async function startContainer(lab: Lab, node: NodeName, options: ContainerOptions): Promise<ChildProcess> {
  const pod = podSpec(options.file ?? AGENT);
  const container = [...(pod.initContainers ?? []), ...pod.containers][0]!;
  const { securityContext, command, args = [] } = container;
  if (!pod.hostNetwork || securityContext.privileged || !securityContext.readOnlyRootFilesystem || securityContext.allowPrivilegeEscalation)
    throw new Error('deploy/ wants more than this makes');
  const home = join(lab.directory, `container-${node}`);
  mkdirSync(home, { recursive: true });
  const words = (options.command ?? [...command, ...args]).map((word) =>
    word.replace(/\$\((\w+)\)/g, (_, name: string) => options.environment[name] ?? ''),
  );
  const dropped = await droppedBut(options.capabilities ?? securityContext.capabilities.add);
  const variables = Object.entries(options.environment).map(([name, value]) => `${name}=${value}`);
  return lab.start(node, 'env', [
    ...['-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', ...variables],
    ...['unshare', '--mount', '--pid', '--fork', '--kill-child', '--cgroup', '--ipc'],
    ...['bash', '-euc', SCRIPT, 'container', home, imageRoot, dropped.join(',')],
    ...[...mountsOf(pod, container, options), '--', ...words],
  ]);
}

/** Sends a signal to the container's first process, as a kubelet does. */
export function signalContainer(child: ChildProcess, signal: NodeJS.Signals): void {
  const [first] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ');
  process.kill(Number(first), signal);
}
