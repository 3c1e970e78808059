// Makes what a node runs out of control/ and the packages it uses: one JavaScript file, for Node strips no types below node_modules, and the
// licences of all that is in it and in the addon.

import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const home = join(import.meta.dirname, '..');

const { metafile } = await build({
  absWorkingDir: home,
  entryPoints: ['control/main.ts'],
  outfile: 'build/sluice.js',
  bundle: true,
  platform: 'node',
  format: 'esm',
  // The oldest that package.json allows.
  target: 'node22.18',
  banner: {
    // The image has no shell and runs the file itself. Packages that are CommonJS ask for Node's own modules by require.
    js: "#!/usr/bin/node\nimport { createRequire as requireOf } from 'node:module';\nconst require = requireOf(import.meta.url);",
  },
  metafile: true,
  logLevel: 'warning',
});

/** node_modules/NAME of every file that is in the bundle. */
const packages = new Set(
  Object.keys(metafile.inputs).flatMap((file) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []),
);

function licenceOf(directory: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(home, directory, 'package.json'), 'utf8'));
  const file = readdirSync(join(home, directory)).find((entry) => /^licen[cs]e(?:\.(?:md|txt))?$/i.test(entry));
  if (file === undefined && !license) throw new Error(`${directory} says nothing about its licence: it cannot be shipped`);
  const text = file === undefined ? `Licence: ${license}` : readFileSync(join(home, directory, file), 'utf8').trim();
  return `${name} ${version}\n\n${text}\n`;
}

chmodSync(join(home, 'build/sluice.js'), 0o755);
writeFileSync(
  join(home, 'build/LICENSES'),
  [...packages]
    .sort()
    .map(licenceOf)
    .join(`\n${'-'.repeat(70)}\n\n`),
);
const size = Object.values(metafile.outputs)[0]!.bytes;
console.log(`  esbuild  build/sluice.js: ${Math.round(size / 1024)} KiB of control/ and ${packages.size} packages`);
