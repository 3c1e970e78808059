// A page of an agent, or of kube-proxy, asked from a place of the lab as curl asks.

import type { Lab } from './netns.ts';
import { type Family, type PlaceName, places } from './places.ts';

export interface Page {
  /** 0: nobody listens, or not any more. */
  readonly code: number;
  /** By their names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Its last line has an end. */
  readonly body: string;
}

/** `http://` and the address of a place. */
export function pageURL(at: PlaceName, port: number, path: string, family: Family = 4): string {
  return `http://${family === 4 ? places[at][4] : `[${places[at][6]}]`}:${port}${path}`;
}

/** Asks from a place. */
export async function askPage(lab: Lab, from: PlaceName, url: string): Promise<Page> {
  const text = await lab.run(from, 'curl', ['-s', '-i', '--max-time', '5', url], { accept: [7, 28, 52, 56] });
  const end = text.indexOf('\r\n\r\n');
  const [status = '', ...lines] = text.slice(0, Math.max(0, end)).split('\r\n');
  const headers = lines.map((line) => line.split(': ', 2) as [string, string]);
  return {
    code: Number(status.split(' ')[1] ?? 0),
    headers: Object.fromEntries(headers.map(([name, value]) => [name.toLowerCase(), value])),
    body: `${end < 0 ? '' : text.slice(end + 4)}\n`,
  };
}
