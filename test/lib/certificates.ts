// Certificates of a cluster: an authority of the test's own, what the API server shows, and what an administrator signs in with.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';

/** Files in PEM. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

interface Request {
  readonly name: string;
  /** `/CN=…`, `/O=…`: who it is for. */
  readonly subject: string;
  /** Lines of OpenSSL's extension section. */
  readonly extensions: readonly string[];
}

async function issue(directory: string, { name, subject, extensions }: Request, authority?: Certificate): Promise<Certificate> {
  const file = (suffix: string) => join(directory, `${name}.${suffix}`);
  writeFileSync(file('cnf'), ['[req]', 'distinguished_name=none', '[none]', '[extensions]', ...extensions, ''].join('\n'));
  await execa('openssl', [
    ...['req', '-x509', '-config', file('cnf'), '-extensions', 'extensions', '-days', '30', '-nodes', '-subj', subject],
    ...['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-keyout', file('key'), '-out', file('crt')],
    ...(authority ? ['-CA', authority.certificate, '-CAkey', authority.key] : []),
  ]);
  return { certificate: file('crt'), key: file('key') };
}

/** Addresses and names under which the API server is reached. */
export interface ServerNames {
  readonly addresses: readonly string[];
  readonly hosts: readonly string[];
}

export interface Certificates {
  readonly authority: Certificate;
  readonly server: Certificate;
  /** In the group system:masters. */
  readonly admin: Certificate;
  /** Tokens of ServiceAccounts are signed with its key. */
  readonly accounts: Certificate;
}

/** Makes them all in a directory. */
export async function makeCertificates(directory: string, { addresses, hosts }: ServerNames): Promise<Certificates> {
  const names = [...addresses.map((address) => `IP:${address}`), ...hosts.map((host) => `DNS:${host}`)];
  const authority = await issue(directory, { name: 'ca', subject: '/CN=lab', extensions: ['basicConstraints=critical,CA:true'] });
  const leaf = (name: string, subject: string, ...extensions: string[]) =>
    issue(directory, { name, subject, extensions: ['basicConstraints=critical,CA:false', ...extensions] }, authority);
  const [server, admin, accounts] = await Promise.all([
    leaf('server', '/CN=kube-apiserver', 'extendedKeyUsage=serverAuth', `subjectAltName=${names.join(',')}`),
    leaf('admin', '/O=system:masters/CN=admin', 'extendedKeyUsage=clientAuth'),
    leaf('accounts', '/CN=accounts'),
  ]);
  return { authority, server, admin, accounts };
}
