// Does `sluice check` find what somebody changed behind the agent's back, name it, and end with 1; and end with 0 where nothing is wrong?
// A lab with a real agent; then the same with the agent dead.
import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Finding } from '../control/kernel/findings.ts';
import type { Maps } from '../control/kernel/maps.ts';
import { servingPins } from '../control/kernel/pins.ts';
import { type Agent, agentArguments, pinnedMaps, startAgent } from './lib/agent.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { plainLane } from './lib/topology.ts';

const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));
const main = fileURLToPath(new URL('../control/main.ts', import.meta.url));

interface Report {
  readonly clean: boolean;
  readonly notChecked: readonly string[];
  readonly findings: readonly Finding[];
}

let lab: Lab;
let agent: Agent;
let maps: Maps;

/** Runs check on node A and holds its exit code against what it says. */
async function check(): Promise<Report> {
  const words = ['--disable-warning=ExperimentalWarning', main, 'check', '-o', 'json', ...agentArguments(lab, 'nodeA')];
  const wrapped = 'out=$("$@"); code=$?; printf "%s\\n%s" "$code" "$out"';
  const output = await lab.run('nodeA', 'sh', ['-c', wrapped, 'sh', process.execPath, ...words], { timeoutMs: 60_000 });
  const end = output.indexOf('\n');
  const report = JSON.parse(output.slice(end)) as Report;
  const drifted = report.findings.some(({ kind }) => kind === 'drift');
  assert.deepEqual([Number(output.slice(0, end)), report.clean], drifted ? [1, false] : [0, true]);
  return report;
}

/** Changes something and checks until it is seen: what the agent repairs within seconds it may have repaired before it was asked. */
async function finds(where: RegExp, found: RegExp, change: () => Promise<void> | void): Promise<void> {
  let seen: Report = { clean: true, notChecked: [], findings: [] };
  for (let tries = 0; tries < 5; tries++) {
    await change();
    seen = await check();
    const match = seen.findings.find((finding) => finding.kind === 'drift' && where.test(finding.where) && found.test(finding.found));
    if (match === undefined) continue;
    assert.ok(match.repair.length > 0);
    return;
  }
  assert.fail(`${where} was not found: ${JSON.stringify(seen.findings)}`);
}

/** Checks until nothing is wrong any more. */
async function becomesClean(): Promise<void> {
  let seen: Report | undefined;
  for (let tries = 0; tries < 20; tries++) {
    seen = await check();
    if (seen.clean) return;
  }
  assert.fail(JSON.stringify(seen?.findings));
}

const sysctl = (name: string, value: string) => lab.run('nodeA', 'sysctl', ['-w', `${name}=${value}`]).then(() => {});

describe('check', () => {
  before(async () => {
    lab = openLab(plainLane);
    agent = await startAgent(lab, 'nodeA', manifests);
    maps = pinnedMaps(lab, 'nodeA');
  });
  after(() => lab.close());

  test('control: nothing is wrong, exit 0', async () => {
    const { findings, notChecked } = await check();
    assert.deepEqual([findings.filter(({ kind }) => kind === 'drift'), notChecked], [[], []]);
  });

  test('an entry that somebody deleted, in each map of the plan', async () => {
    const [key, value] = [...maps.frontends4.entries()].find(([{ address }]) => address === '10.96.0.10')!;
    await finds(/^map frontends4 10\.96\.0\.10:80\/(6|17)$/, /^missing$/, () => void maps.frontends4.delete(key));
    maps.frontends4.set(key, value);
    const [range, allowed] = [...maps.source_ranges6.entries()][0]!;
    await finds(/^map source_ranges6 /, /^missing$/, () => void maps.source_ranges6.delete(range));
    maps.source_ranges6.set(range, allowed);
    const flags = maps.addresses4.get('10.96.0.10')!;
    await finds(/^map addresses4 10\.96\.0\.10$/, /^missing$/, () => void maps.addresses4.delete('10.96.0.10'));
    maps.addresses4.set('10.96.0.10', flags);
    await becomesClean();
  });

  test('an entry that somebody changed, and one that nobody wants', async () => {
    const [id, backend] = [...maps.backends6.entries()].find(([, { flags }]) => flags !== 0)!;
    await finds(new RegExp(`^map backends6 ${id}$`), /^other contents$/, () => maps.backends6.set(id, { ...backend, flags: 1 }));
    maps.backends6.set(id, backend);
    const [key, value] = [...maps.frontends4.entries()][0]!;
    const stray = { ...key, port: 9999 };
    await finds(/^map frontends4 .*:9999\/\d+$/, /^not wanted$/, () => maps.frontends4.set(stray, value));
    maps.frontends4.delete(stray);
    const settings = maps.settings.get(0)!;
    await finds(/^map settings$/, /^other contents$/, () => maps.settings.set(0, { ...settings, snat_last: 1 }));
    const [ifindex, device] = [...maps.devices.entries()][0]!;
    await finds(new RegExp(`^map devices ${ifindex}$`), /^other contents$/, () => maps.devices.set(ifindex, { ...device, mtu: 99 }));
    // These the agent repairs by itself, within seconds.
    await becomesClean();
  });

  test('a link that somebody removed from a device, and from the cgroup root', async () => {
    const { deviceLinks, cgroupLinks } = servingPins(lab.pinDirectory('nodeA'))!;
    const link = JSON.parse(await lab.run('nodeA', 'ip', ['-json', 'link', 'show', 'eth0'])) as { ifindex: number }[];
    const pin = `${deviceLinks}/${link[0]!.ifindex}-ingress`;
    // Before kernel 6.6 there is no link but a filter.
    const detach = existsSync(pin)
      ? () => rmSync(pin)
      : () => lab.run('nodeA', 'tc', ['filter', 'del', 'dev', 'eth0', 'ingress']).then(() => {});
    await finds(/^device eth0 ingress$/, /^no program of ours$/, detach);
    await finds(/^cgroup .* connect4$/, /^no link of ours$/, () => rmSync(`${cgroupLinks}/connect4`));
    await becomesClean();
  });

  test('settings of the kernel', async () => {
    await finds(/^sysctl net\.ipv4\.ip_forward$/, /^0$/, () => sysctl('net.ipv4.ip_forward', '0'));
    await sysctl('net.ipv4.ip_forward', '1');
    const reserved = (await lab.run('nodeA', 'sysctl', ['-n', 'net.ipv4.ip_local_reserved_ports'])).trim();
    await finds(/ip_local_reserved_ports$/, /^without 16384-29999$/, () => sysctl('net.ipv4.ip_local_reserved_ports', ''));
    await sysctl('net.ipv4.ip_local_reserved_ports', reserved);
    await sysctl('net.ipv4.conf.eth0.rp_filter', '1');
    const { findings } = await check();
    assert.match(findings.find(({ where }) => where.endsWith('eth0.rp_filter'))?.found ?? '', /strict/, 'a warning, no drift');
    await becomesClean();
  });

  test('without an agent: what can be seen then, and what cannot', async () => {
    await agent.end('SIGKILL');
    const clean = await check();
    assert.deepEqual(
      clean.findings.filter(({ kind }) => kind === 'drift'),
      [],
    );
    assert.match(clean.notChecked.join(), /every map against what the objects/);
    const { cgroupLinks } = servingPins(lab.pinDirectory('nodeA'))!;
    await finds(/^cgroup .* sendmsg6$/, /^no link of ours$/, () => rmSync(`${cgroupLinks}/sendmsg6`));
    const [key, frontend] = [...maps.frontends4.entries()].find(([, { cluster }]) => cluster.count > 0)!;
    const lost = { ...frontend, cluster: { first: maps.slots.length - 8, count: 1 } };
    await finds(/^map frontends4 /, /^slots name nobody$/, () => maps.frontends4.set(key, lost));
  });
});
