// How is untrusted text shown? Names come from manifests and may hold escape sequences, line ends or direction marks;
// nothing of that reaches a terminal.

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0');
}

/** Text for a table or a message: control, format and separator characters as `\x1b`, `\u202e`, `\u{e0001}`; a backslash doubled, so that it can be read back. */
export function printable(text: string): string {
  return text.replaceAll('\\', '\\\\').replace(UNPRINTABLE, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (character in SHORT) return SHORT[character] ?? '';
    if (code <= 0xff) return `\\x${hex(code, 2)}`;
    return code <= 0xffff ? `\\u${hex(code, 4)}` : `\\u{${hex(code, 1)}}`;
  });
}

/** A JSON document whose strings keep their value while the text holds no unprintable character (RFC 8259 section 7). */
export function printableJson(document: string): string {
  return document.replace(UNPRINTABLE, (character) => {
    if (character === '\n') return character;
    let escaped = '';
    for (let i = 0; i < character.length; i++) escaped += `\\u${hex(character.charCodeAt(i), 4)}`;
    return escaped;
  });
}

/** The same for YAML whose strings are all double-quoted (YAML 1.2 section 5.7). */
export function printableYaml(document: string): string {
  return document.replace(UNPRINTABLE, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (character === '\n') return character;
    return code <= 0xffff ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`;
  });
}

/** `10.0.0.1:80`, `[fd00::1]:80`. */
export function endpointText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** A duration for people: `3s`, `4m10s`, `2h05m`, `3d04h`. */
export function durationText(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n: number) => String(n).padStart(2, '0');
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h${two(Math.floor(whole / 60) % 60)}m`;
  return `${Math.floor(whole / 86400)}d${two(Math.floor(whole / 3600) % 24)}h`;
}
