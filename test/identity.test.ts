// Who the agent is to the API server: what a kubeconfig or a pod's service account says becomes headers and certificates, and again
// when it changes.

import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { type ApiError, openApi } from '../control/source/kube/api.ts';
import { openIdentity } from '../control/source/kube/identity.ts';
import { openKube } from '../control/source/kube/kube.ts';
import { TIMINGS } from '../control/source/kube/reflector.ts';
import { type Certificates, makeCertificates } from './lib/certificates.ts';
import { service } from './lib/objects.ts';
import { until } from './lib/sandbox.ts';
import { fail, openScriptedApi, SERVICES } from './lib/scripted-api.ts';

let directory: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'identity-'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

let files = 0;
/** A kubeconfig of one cluster and one user; its path. */
function kubeconfig(user: object, cluster: object = { server: 'https://192.0.2.1:6443/' }): string {
  const path = join(directory, `kubeconfig-${files++}`);
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  writeFileSync(path, JSON.stringify(config));
  return path;
}

async function headers(user: object): Promise<Readonly<Record<string, string>>> {
  return (await (await openIdentity(kubeconfig(user), [])).credentials()).headers;
}

describe('a kubeconfig', () => {
  it('says where the server is, unless other addresses count', async () => {
    const file = kubeconfig({});
    assert.deepEqual((await openIdentity(file, [])).servers, ['https://192.0.2.1:6443']);
    assert.deepEqual((await openIdentity(file, ['https://a', 'https://b'])).servers, ['https://a', 'https://b']);
    assert.equal((await openIdentity(file, [])).from, `kubeconfig ${file}`);
  });

  it('may leave out the scheme of the server: https where anything speaks of certificates', async () => {
    const serversOf = async (cluster: object, user: object = {}) => (await openIdentity(kubeconfig(user, cluster), [])).servers;
    assert.deepEqual(await serversOf({ server: '192.0.2.1:6443' }), ['http://192.0.2.1:6443']);
    assert.deepEqual(await serversOf({ server: '192.0.2.1:6443', 'insecure-skip-tls-verify': true }), ['https://192.0.2.1:6443']);
    const certificates = { 'client-certificate-data': 'Yw==', 'client-key-data': 'aw==' };
    assert.deepEqual(await serversOf({ server: 'master.example:6443/' }, certificates), ['https://master.example:6443']);
    await assert.rejects(serversOf({ server: 'ftp://192.0.2.1' }), /its server "ftp:\/\/192.0.2.1" is no URL of http or https/);
    await assert.rejects(serversOf({ server: 'https://[::1' }), /is no URL/);
  });

  it('has a token', async () => assert.deepEqual(await headers({ token: 'secret' }), { Authorization: 'Bearer secret' }));

  it('has a name and a password', async () => {
    assert.deepEqual(await headers({ username: 'a', password: 'b' }), { Authorization: `Basic ${Buffer.from('a:b').toString('base64')}` });
  });

  it('names a file of the token, as kubeadm’s for kube-proxy does, beside itself or anywhere; a new one counts at the latest when the old is refused', async () => {
    writeFileSync(join(directory, 'token'), 'first\n');
    const identity = await openIdentity(kubeconfig({ tokenFile: 'token', token: 'of no account' }), []);
    assert.deepEqual((await identity.credentials()).headers, { Authorization: 'Bearer first' });
    writeFileSync(join(directory, 'token'), 'second');
    identity.renew();
    assert.deepEqual((await identity.credentials()).headers, { Authorization: 'Bearer second' });
  });

  it('runs a plug-in, which is told what it is asked for', async () => {
    const plugin = join(directory, 'plugin');
    const answer = '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"from the plug-in"}}';
    writeFileSync(
      plugin,
      `#!/bin/sh\ncase "$KUBERNETES_EXEC_INFO" in *client.authentication.k8s.io/v1*) echo '${answer}' ;; *) exit 3 ;; esac\n`,
    );
    chmodSync(plugin, 0o755);
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: plugin, interactiveMode: 'Never' };
    assert.deepEqual(await headers({ exec }), { Authorization: 'Bearer from the plug-in' });
  });

  it('whose plug-in fails is an error that says what the plug-in said, and no request', async () => {
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'sh', args: ['-c', 'echo no cloud today >&2; exit 1'] };
    const api = openApi(await openIdentity(kubeconfig({ exec }), []), 'test');
    await assert.rejects(
      api.request('GET', '/version'),
      (error: ApiError) => error.status === undefined && /no cloud today$/.test(error.message),
    );
  });

  for (const [sentence, text, message] of [
    ['that is missing', undefined, /ENOENT/],
    ['that is no YAML', '{', /./],
    ['without a current context', '{}', /no current context/],
  ] as const) {
    it(`${sentence} is an error in a sentence`, async () => {
      const path = join(directory, `broken-${files++}`);
      if (text !== undefined) writeFileSync(path, text);
      await assert.rejects(openIdentity(path, []), message);
    });
  }
});

describe('a pod', () => {
  const saved = { ...process.env };
  afterEach(() => {
    for (const name of ['KUBERNETES_SERVICE_HOST', 'KUBERNETES_SERVICE_PORT']) {
      if (saved[name] === undefined) delete process.env[name];
      else process.env[name] = saved[name];
    }
  });

  it('has a service account', async () => {
    const root = join(directory, 'pod');
    const account = join(root, 'var/run/secrets/kubernetes.io/serviceaccount');
    mkdirSync(account, { recursive: true });
    writeFileSync(join(account, 'token'), 'of the pod');
    writeFileSync(join(account, 'ca.crt'), 'an authority');
    process.env.KUBERNETES_SERVICE_HOST = 'fd96::1';
    process.env.KUBERNETES_SERVICE_PORT = '443';
    const identity = await openIdentity(undefined, [], root);
    assert.deepEqual([identity.servers, identity.from], [['https://[fd96::1]:443'], 'the service account of this pod']);
    const { headers, tls } = await identity.credentials();
    assert.deepEqual([headers, String(tls.ca)], [{ Authorization: 'Bearer of the pod' }, 'an authority']);
  });

  it('is not where none is', async () => {
    delete process.env.KUBERNETES_SERVICE_HOST;
    await assert.rejects(openIdentity(undefined, ['https://192.0.2.1']), /no service account/);
  });
});

describe('on the wire', () => {
  it('the server is known by its authority and we by our certificate', async () => {
    const at = join(directory, 'tls');
    mkdirSync(at);
    const made = await makeCertificates(at, { addresses: ['127.0.0.1'], hosts: ['localhost'] });
    const server = createServer(
      {
        cert: readFileSync(made.server.certificate),
        key: readFileSync(made.server.key),
        ca: readFileSync(made.authority.certificate),
        requestCert: true,
        rejectUnauthorized: true,
      },
      (request, response) => response.end(JSON.stringify({ subject: (request.socket as TLSSocket).getPeerCertificate().subject.O })),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    try {
      const user = { 'client-certificate': made.admin.certificate, 'client-key': made.admin.key };
      const good = openApi(
        await openIdentity(kubeconfig(user, { server: url, 'certificate-authority': made.authority.certificate }), []),
        'test',
      );
      assert.deepEqual(await good.request('GET', '/'), { subject: 'system:masters' });
      await good.close();
      const strange = openApi(await openIdentity(kubeconfig(user, { server: url }), []), 'test');
      await assert.rejects(strange.request('GET', '/'), /certificate/);
      await strange.close();
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it('certificates whose files are replaced, ours and the authority’s, count with the next request; what streams goes on', async () => {
    const [old, fresh, live] = ['old', 'fresh', 'live'].map((name) => join(directory, name)) as [string, string, string];
    for (const at of [old, fresh, live]) mkdirSync(at);
    const names = { addresses: ['127.0.0.1'], hosts: ['localhost'] };
    const [before, afterwards] = await Promise.all([old, fresh].map((at) => makeCertificates(at, names)));
    const shown = ({ server: { certificate, key }, authority }: Certificates) => ({
      ...{ cert: readFileSync(certificate), key: readFileSync(key), ca: readFileSync(authority.certificate) },
      ...{ requestCert: true, rejectUnauthorized: true },
    });
    const replace = ({ authority, admin }: Certificates) => {
      copyFileSync(authority.certificate, join(live, 'ca.crt'));
      copyFileSync(admin.certificate, join(live, 'admin.crt'));
      copyFileSync(admin.key, join(live, 'admin.key'));
    };
    const serials: string[] = [];
    let stream: ServerResponse | undefined;
    const server = createServer(shown(before!), (request, response) => {
      serials.push((request.socket as TLSSocket).getPeerCertificate().serialNumber);
      if (request.url !== '/stream') return response.end('{}');
      stream = response;
      return stream.write('one\n');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    replace(before!);
    const user = { 'client-certificate': join(live, 'admin.crt'), 'client-key': join(live, 'admin.key') };
    const api = openApi(await openIdentity(kubeconfig(user, { server: url, 'certificate-authority': join(live, 'ca.crt') }), []), 'test');
    try {
      const pieces = (await api.watch('/stream', {}))[Symbol.asyncIterator]();
      assert.equal(String((await pieces.next()).value), 'one\n');
      await api.request('GET', '/');
      server.setSecureContext(shown(afterwards!));
      replace(afterwards!);
      await api.request('GET', '/');
      assert.equal(serials[0], serials[1]);
      assert.notEqual(serials[1], serials[2], 'another certificate of ours, to a server of another authority');
      stream!.write('two\n');
      assert.equal(String((await pieces.next()).value), 'two\n');
    } finally {
      await api.close();
      server.closeAllConnections();
      server.close();
    }
  });

  it('a token that is refused is read again, and the new one opens', async () => {
    const api = await openScriptedApi();
    let valid = 'one';
    api.order = ({ authorization }, response) => authorization !== `Bearer ${valid}` && fail(response, 401, 'Unauthorized');
    writeFileSync(join(directory, 'rotating'), 'one');
    const identity = await openIdentity(kubeconfig({ tokenFile: join(directory, 'rotating') }, { server: api.url }), []);
    const timings = { ...TIMINGS, spacing: 20, firstPause: 20, longestPause: 100, settled: 50 };
    const kube = openKube({ api: openApi(identity, 'test'), nodeName: 'node-a', serviceProxyName: undefined, timings });
    try {
      await until('the first sync', () => kube.synced);
      valid = 'two';
      for (const open of [...api.watches]) open.reset();
      await until('the refusal', () => kube.objects().problems.some(({ reason }) => reason === 'ApiServerRefuses'));
      writeFileSync(join(directory, 'rotating'), 'two');
      api.put(SERVICES, service('late'));
      await until('the change', () => kube.objects().services.has('default/late') && kube.objects().problems.length === 0);
    } finally {
      kube.close();
      await api.close();
    }
  });
});
