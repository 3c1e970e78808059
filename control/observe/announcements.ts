// Which Problems become Events, and at which object? Those that somebody wrote into an object, or that this node has with it; a state that
// every object passes through is none. Those of the node itself are put at its Node.

import type { Model, Problem } from '../model/model.ts';
import type { Objects } from '../source/objects.ts';
import type { Recorder, Regarding } from './events.ts';
import { usesExternalIPs } from './node-metrics.ts';

/** Every Service passes through these when it is made. */
const PASSING: ReadonlySet<string> = new Set(['NoEndpointSlices', 'NoClusterIP']);
/** Problems with the API server itself: it cannot be told now, and knows by then. */
const UNREACHABLE = /^ApiServer/;

const API_VERSION: Readonly<Record<string, string>> = {
  Service: 'v1',
  Node: 'v1',
  EndpointSlice: 'discovery.k8s.io/v1',
  ServiceCIDR: 'networking.k8s.io/v1',
};

const EXTERNAL_IPS = 'spec.externalIPs is deprecated and Kubernetes is going to remove it: use a load balancer or the Gateway API instead';

function uidOf(objects: Objects, kind: string, key: string): string {
  if (kind === 'Service') return objects.services.get(key)?.uid ?? '';
  if (kind === 'Node') return objects.nodes.get(key)?.uid ?? '';
  if (kind === 'ServiceCIDR') return objects.serviceCIDRs.get(key)?.uid ?? '';
  for (const slices of objects.slices.values()) {
    const found = slices.find((slice) => slice.key === key);
    if (found !== undefined) return found.uid;
  }
  return '';
}

/** The object behind a Problem's words; undefined: there is none to put an Event at. */
export function regardingOf(object: string, objects: Objects, nodeName: string): Regarding | undefined {
  const [kind = '', key = ''] = object === 'Agent' ? ['Node', nodeName] : object.split(' ', 2);
  const apiVersion = API_VERSION[kind];
  if (apiVersion === undefined || (kind === 'Node' && !objects.nodes.has(key))) return undefined;
  const slash = key.indexOf('/');
  const namespace = slash < 0 ? undefined : key.slice(0, slash);
  return { apiVersion, kind, namespace, name: key.slice(slash + 1), uid: uidOf(objects, kind, key) };
}

export interface Announcements {
  /** A Problem that was not there before. */
  problem(problem: Problem): void;
  /** Services use a deprecated field. changed: keys of those that may differ from the call before; undefined: any may. */
  deprecated(services: Model['services'], changed: ReadonlySet<string> | undefined): void;
}

export function openAnnouncements(recorder: Recorder, objects: () => Objects, nodeName: string): Announcements {
  const told = new Set<string>();
  const regarding = (object: string) => () => regardingOf(object, objects(), nodeName);
  return {
    problem({ object, field, reason, message }) {
      if (PASSING.has(reason) || UNREACHABLE.test(reason)) return;
      const note = field === undefined ? message : `${field}: ${message}`;
      // kube-proxy: the action of its one Event is Listen; of ours it is what a turn does.
      const action = reason === 'FailedToStartServiceHealthcheck' || reason === 'PortTaken' ? 'Listen' : 'Program';
      recorder.record(object, { type: 'Warning', reason, action, note }, regarding(object));
    },
    deprecated(services, changed) {
      for (const key of changed ?? new Set([...services.keys(), ...told])) {
        const service = services.get(key);
        if (service === undefined || !usesExternalIPs(service)) told.delete(key);
        else if (!told.has(key)) {
          told.add(key);
          const object = `Service ${key}`;
          recorder.record(object, { type: 'Warning', reason: 'DeprecatedField', action: 'Program', note: EXTERNAL_IPS }, regarding(object));
        }
      }
    },
  };
}
