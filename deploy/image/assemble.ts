// Puts the image's tree together in build/image-root: the npm package, a Node, the nft variant of iptables by which kube-proxy's rules leave,
// and the shared libraries of them all. What a container runtime mounts, it makes room for. The Containerfile copies it, the tests run the
// agent in it.

import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

const home = join(import.meta.dirname, '../..');
const root = join(home, 'build/image-root');
const { version } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')) as { version: string };
const node = join(home, `node_modules/node-linux-${process.arch}`);

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8' });
}

/** Puts a file at a path of the tree. */
function put(file: string, path: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  cpSync(realpathSync(file), join(root, path));
}

/** Paths of the shared libraries of an executable or an addon, the dynamic loader among them. */
function librariesOf(file: string): string[] {
  return [...run('ldd', file).matchAll(/(\/\S+) \(0x/g)].map((match) => match[1]!);
}

/** Licences travel with what they are about. */
function putLicence(library: string): void {
  // Where /lib is a link to /usr/lib, dpkg knows a file by either.
  const names = [library, realpathSync(library)].flatMap((path) => [path, path.replace(/^\/usr/, '')]);
  const owner = spawnSync('dpkg', ['-S', ...names], { encoding: 'utf8' }).stdout.split(':')[0];
  if (!owner) throw new Error(`${library} is of no Debian package: what is its licence?`);
  put(`/usr/share/doc/${owner}/copyright`, `usr/share/doc/${owner}/copyright`);
}

rmSync(root, { recursive: true, force: true });
mkdirSync(join(root, 'opt/sluice'), { recursive: true });
run('tar', '-xzf', join(home, `build/sluice-${version}.tgz`), '--strip-components=1', '-C', join(root, 'opt/sluice'));
// A shell's work, and there is no shell.
rmSync(join(root, 'opt/sluice/bin'), { recursive: true });
put(join(node, 'bin/node'), 'usr/bin/node');
put(join(node, 'LICENSE'), 'usr/share/doc/node/LICENSE');
symlinkSync('../../opt/sluice/build/sluice.js', join(root, 'usr/bin/sluice'));

for (const directory of ['lib', 'lib64']) {
  if (!existsSync(`/${directory}`)) continue;
  mkdirSync(join(root, 'usr', directory), { recursive: true });
  symlinkSync(`usr/${directory}`, join(root, directory));
}
// The legacy variant would need CAP_NET_RAW.
const XTABLES = '/usr/sbin/xtables-nft-multi';
put(XTABLES, XTABLES);
putLicence(XTABLES);
for (const family of ['iptables', 'ip6tables'])
  for (const verb of ['save', 'restore']) symlinkSync(basename(XTABLES), join(root, `usr/sbin/${family}-nft-${verb}`));
// All of iptables, not only what kube-proxy writes: they print and read whole tables, in which others have rules.
const extensions = globSync('/usr/lib/*/xtables/lib{xt,ipt,ip6t}_*.so');
for (const extension of extensions) put(extension, extension);

const executables = [join(root, 'usr/bin/node'), join(root, 'opt/sluice/build/sluice.node'), XTABLES, ...extensions];
const libraries = new Set(executables.flatMap(librariesOf));
for (const library of libraries) {
  put(library, library.replace(/^\/(?=lib)/, 'usr/'));
  putLicence(library);
}

// uid 0 has a name and a home for whoever asks; groups likewise.
for (const directory of ['dev', 'etc/sluice', 'proc', 'run/sluice', 'sys', 'host/proc/sys/net', 'host/sys/fs/cgroup', 'var'])
  mkdirSync(join(root, directory), { recursive: true });
symlinkSync('../run', join(root, 'var/run'));
writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/:/sbin/nologin\n');
writeFileSync(join(root, 'etc/group'), 'root:x:0:\n');
const size = Number(run('du', '-sm', root).split('\t')[0]);
console.log(
  `  image    build/image-root: ${size} MiB, of which Node ${Math.round(readFileSync(join(root, 'usr/bin/node')).length / 2 ** 20)}, and ${libraries.size} libraries (${[...libraries].map((path) => basename(path)).join(', ')})`,
);
