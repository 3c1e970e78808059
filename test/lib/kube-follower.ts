// The API server's source alone, as a program that runs in a place of the lab: it follows, and answers every message with what it knows. Its
// argument is JSON: kubeconfig, servers, nodeName, timings.

import { openApi } from '../../control/source/kube/api.ts';
import { openIdentity } from '../../control/source/kube/identity.ts';
import { type KubeStatus, openKube } from '../../control/source/kube/kube.ts';
import { TIMINGS, type Timings } from '../../control/source/kube/reflector.ts';

export interface FollowerOptions {
  readonly kubeconfig: string;
  readonly servers?: readonly string[];
  readonly nodeName: string;
  readonly timings?: Partial<Timings>;
}

export interface FollowerAnswer {
  readonly synced: boolean;
  /** Keys. */
  readonly services: readonly string[];
  /** Endpoints' addresses by Service. */
  readonly endpoints: Readonly<Record<string, readonly string[]>>;
  readonly nodes: readonly string[];
  readonly serviceCIDRs: readonly string[];
  /** Reasons of the source's own Problems, and of those about slices. */
  readonly problems: readonly string[];
  readonly sliceProblems: readonly string[];
  readonly status: KubeStatus;
}

const options = JSON.parse(process.argv[2]!) as FollowerOptions;
const identity = await openIdentity(options.kubeconfig, options.servers ?? []);
const kube = openKube({
  api: openApi(identity, 'sluice/test'),
  nodeName: options.nodeName,
  serviceProxyName: undefined,
  timings: { ...TIMINGS, ...options.timings },
});

process.on('message', () => {
  const { services, slices, nodes, serviceCIDRs, problems } = kube.objects();
  const answer: FollowerAnswer = {
    synced: kube.synced,
    services: [...services.keys()],
    endpoints: Object.fromEntries(
      [...slices].map(([key, group]) => [key, group.flatMap(({ endpoints }) => endpoints.map(({ address }) => address))]),
    ),
    nodes: [...nodes.keys()],
    serviceCIDRs: [...serviceCIDRs.values()].flatMap(({ cidrs }) => cidrs),
    problems: problems.map(({ reason }) => reason),
    sliceProblems: [...slices.values()].flatMap((group) => group.flatMap((slice) => slice.problems.map(({ reason }) => reason))),
    status: kube.status(),
  };
  process.send!(answer);
});
process.on('disconnect', () => kube.close());
