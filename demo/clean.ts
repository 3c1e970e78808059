// Removes a demo that was left running, or what is left of one.

import { cgroupRoot, removeLab } from '../test/lib/netns.ts';
import { labName } from './cluster.ts';
import { leftOfLab } from './left.ts';
import { say } from './screen.ts';

const before = leftOfLab(cgroupRoot());
removeLab(labName);
const left = leftOfLab(cgroupRoot());
for (const what of before) say(`${left.includes(what) ? 'still there' : 'removed'}  ${what}`);
if (before.length === 0) say('no demo is here');
if (left.length > 0) process.exitCode = 1;
