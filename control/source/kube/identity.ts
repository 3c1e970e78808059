// Who are we to the API server, and where is it? A kubeconfig, or the service account of the pod that the agent runs in, by way of
// the Kubernetes client's own reader of both: tokens that rotate, exec plug-ins, client certificates.

import { existsSync } from 'node:fs';

/** What a connection and a request need now. */
export interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: {
    readonly ca?: string | Buffer;
    readonly cert?: string | Buffer;
    readonly key?: string | Buffer;
    readonly servername?: string;
    readonly rejectUnauthorized?: boolean;
  };
  /** URL of an HTTP proxy. */
  readonly proxy: string | undefined;
}

export interface Identity {
  /** Base URLs without a slash at the end, in the order in which they are tried. Never empty. */
  readonly servers: readonly string[];
  /** For people: `kubeconfig /etc/…`, `the service account of this pod`. */
  readonly from: string;
  /** Reads files and runs plug-ins where that is due. Rejects with a sentence where it cannot. */
  credentials(): Promise<Credentials>;
  /** The server took us for nobody: everything is read again. */
  renew(): void;
}

/** Where a pod finds its service account; below `root` in tests. */
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** Is this process in a pod with a service account? */
export function isInCluster(root = ''): boolean {
  return (process.env.KUBERNETES_SERVICE_HOST ?? '') !== '' && existsSync(`${root}${SERVICE_ACCOUNT}/token`);
}

/**
 * The identity that a kubeconfig, or undefined: the pod, gives. `servers` count in place of the one named there. Rejects with a
 * sentence where there is none.
 */
export async function openIdentity(kubeconfig: string | undefined, servers: readonly string[], root = ''): Promise<Identity> {
  if (kubeconfig === undefined && !isInCluster(root)) throw new Error('there is no service account of a pod here');
  // architecture: only who needs it pays for it; see ARCHITECTURE.md, Dependencies.
  const { readIdentity } = await import('./kubeconfig.ts');
  return readIdentity(kubeconfig, servers, root);
}
