import { redactSecrets } from '../base/errors.ts';
import type { HttpCall } from '../wire/http-client.ts';

/** The request as it was sent, without secrets: the values of headers come from the environment, and are masked. */
export function shownRequest({ method, url, headers, body }: HttpCall): string {
  const lines = Object.entries(headers).map(([name, value]) =>
    name === 'content-type' ? `${name}: ${value}` : `${name}: [masked]`,
  );
  return redactSecrets([`${method} ${url.href}`, ...lines, ...(body === undefined ? [] : ['', body])].join('\n'));
}

/** Longest part of an answer that an error shows. */
const SHOWN_CHARACTERS = 1000;

const indented = (text: string): string => text.replace(/^(?=.)/gm, '    ');

/** A request and what came back, for an error; `answer` is absent where nothing came. */
export function shownExchange(request: string, answer: string | undefined): string {
  const shown = ['The request was:', indented(request)];
  if (answer === undefined) return shown.join('\n');
  const text = redactSecrets(answer);
  const cut = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
  return [...shown, 'The answer was:', indented(cut === '' ? '(an empty text)' : cut)].join('\n');
}
