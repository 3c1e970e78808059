// What does metricsBindAddress answer? kube-proxy's pages: /metrics, /configz, /healthz, /proxyMode. No profiles and no flags: nothing there
// could be changed or slowed by whoever reaches the port.

import { Registry } from 'prom-client';
import { type Answer, json, NOT_FOUND, type Respond, text } from './listener.ts';

/** kube-proxy's word for its rules. There are none here, whatever a tool that asks would look for. */
const PROXY_MODE = 'sluice';
/** The group under which kube-proxy shows its configuration. */
const CONFIG_GROUP = 'kubeproxy.config.k8s.io';

/** The registry that a scrape shows. */
export function openRegistry(): Registry {
  return new Registry();
}

/** The pages. fields: the configuration that counts, as a file would have it. One scrape at a time: others wait for the same answer. */
export function metricsPages(registry: Registry, fields: () => unknown): Respond {
  let scrape: Promise<string> | undefined;
  const metrics = async (): Promise<Answer> => {
    scrape ??= registry.metrics().finally(() => {
      scrape = undefined;
    });
    return { code: 200, headers: { 'Content-Type': registry.contentType }, body: await scrape };
  };
  return ({ path }) => {
    switch (path) {
      case '/metrics':
        return metrics();
      case '/configz':
        return json(200, { [CONFIG_GROUP]: fields() });
      case '/healthz':
        return text(200, 'ok');
      case '/proxyMode':
        return text(200, PROXY_MODE);
      default:
        return NOT_FOUND;
    }
  };
}
