// Where do the objects come from? A directory of manifests or the API server, as the configuration says: one Source to the loop, with what
// `status` shows of it and, where there is a server, a way for Events.

import { existsSync } from 'node:fs';
import { familyOf, parseAddress } from '../address.ts';
import { type Config, ConfigError } from '../config.ts';
import type { Maps } from '../kernel/maps.ts';
import type { Problem } from '../model/model.ts';
import type { EventSink } from '../observe/events.ts';
import { type Api, ApiError, openApi } from '../source/kube/api.ts';
import { isInCluster, openIdentity } from '../source/kube/identity.ts';
import { openKube } from '../source/kube/kube.ts';
import { openManifests } from '../source/manifests.ts';
import type { Source } from '../source/objects.ts';
import type { AgentStatus } from './status.ts';

export interface ChosenSource {
  readonly source: Source;
  /** undefined: there is nobody to tell. */
  readonly events: EventSink | undefined;
  /** For people: `manifests /etc/…`, `API server https://…`. */
  readonly from: string;
  status(): Pick<AgentStatus['source'], 'manifests' | 'apiServer'>;
  /** What is wrong with the way to it, as the maps are now. */
  problems(maps: Maps): readonly Problem[];
}

const TCP = 6;

function openDirectory(directory: string): ChosenSource {
  try {
    const source = openManifests(directory);
    return {
      source,
      events: undefined,
      from: `manifests ${directory}`,
      status: () => ({ manifests: { directory, files: source.files, ignored: Object.fromEntries(source.ignored()) }, apiServer: null }),
      problems: () => [],
    };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError([
      { field: 'sluice.manifests (--manifests)', given: JSON.stringify(directory), allowed: `a directory that can be read (${reason})` },
    ]);
  }
}

function eventSink(api: Api): EventSink {
  return {
    async send(method, path, contentType, body, signal) {
      try {
        await api.request(method, path, { contentType, body, signal });
        return 200;
      } catch (error) {
        if (error instanceof ApiError && error.status !== undefined) return error.status;
        throw error;
      }
    },
  };
}

/** Row 14.7: a server that is reached by an address of ours cannot be reached by an agent that starts without its maps. */
function throughUs(server: string, maps: Maps): Problem[] {
  const url = new URL(server);
  const address = parseAddress(url.hostname.replace(/^\[(.*)\]$/, '$1'));
  if (address === undefined) return [];
  const key = { address, port: Number(url.port) || (url.protocol === 'https:' ? 443 : 80), protocol: TCP };
  const held = familyOf(address) === 4 ? maps.frontends4.get(key) : maps.frontends6.get(key);
  if (held === undefined) return [];
  const message = `the API server is reached by ${server}, which this agent serves itself: a start without its maps would wait for itself; give the server's own addresses by --api-server`;
  return [{ object: 'ApiServer', reason: 'ApiServerThroughUs', message }];
}

/**
 * kube-proxy's own configuration names a file of its own pod. In ours that is not there, and the service account says who we are.
 * Elsewhere a kubeconfig that is missing is a mistake.
 */
function isOthersKubeconfig(kubeconfig: string | undefined): kubeconfig is string {
  return kubeconfig !== undefined && !existsSync(kubeconfig) && isInCluster();
}

function serviceAccountInstead(kubeconfig: string): Problem {
  const message = `${kubeconfig} is not there: the service account of this pod is used; leave the field out where that is meant`;
  return { object: 'Agent', field: 'clientConnection.kubeconfig', reason: 'KubeconfigMissing', message };
}

async function openApiServer(config: Config, version: string): Promise<ChosenSource> {
  const others = isOthersKubeconfig(config.kubeconfig) ? [serviceAccountInstead(config.kubeconfig)] : [];
  const kubeconfig = others.length > 0 ? undefined : config.kubeconfig;
  const identity = await openIdentity(kubeconfig, config.apiServers).catch((error: unknown) => {
    const [field, given] = ['clientConnection.kubeconfig (--kubeconfig)', JSON.stringify(config.kubeconfig) ?? 'nothing'];
    throw new ConfigError([{ field, given, allowed: `a kubeconfig (${error instanceof Error ? error.message : String(error)})` }]);
  });
  const api = openApi(identity, `sluice/${version}`);
  const { nodeName, serviceProxyName } = config;
  const source = openKube({ api, nodeName, serviceProxyName });
  return {
    source,
    events: eventSink(api),
    from: `API server ${identity.servers.join(', ')}`,
    status: () => ({ manifests: null, apiServer: source.status() }),
    problems: (maps) => [...others, ...throughUs(api.server, maps)],
  };
}

/** Opens the source of a configuration. Rejects with a ConfigError where it cannot be one; an API server that does not answer is none. */
export async function openSource(config: Config, version: string): Promise<ChosenSource> {
  return config.manifests === undefined ? openApiServer(config, version) : openDirectory(config.manifests);
}
