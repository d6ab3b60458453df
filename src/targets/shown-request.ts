import { redactSecrets } from '../base/errors.ts';
import type { HttpCall } from '../wire/http-client.ts';

/** The request as it was sent, without secrets: the values of headers come from the environment, and are masked. */
export function shownRequest({ method, url, headers, body }: HttpCall): string {
  const lines = Object.entries(headers).map(([name, value]) =>
    name === 'content-type' ? `${name}: ${value}` : `${name}: [masked]`,
  );
  return redactSecrets([`${method} ${url.href}`, ...lines, ...(body === undefined ? [] : ['', body])].join('\n'));
}
