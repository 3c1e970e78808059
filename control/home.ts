// Where is the product installed? In a clone, in node_modules of somebody else, or in an image: where its package.json stands, above this
// file as much as above the bundle that this file becomes part of.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

function nearest(directory: string): string {
  if (existsSync(join(directory, 'package.json'))) return directory;
  if (directory === dirname(directory)) throw new Error(`no package.json above ${import.meta.dirname}: the installation is incomplete`);
  return nearest(dirname(directory));
}

/** The directory of package.json, bin/ and build/. */
export const home = nearest(import.meta.dirname);
