import { FloodgateError } from '../base/errors.ts';
import { readEnvironmentValue } from '../wire/secrets.ts';

/** The values that a request template may name, beside `{{env.NAME}}`. */
export interface Draw {
  readonly attack: string;
  /** Different for each call of a run. */
  readonly id: string;
  readonly seed: number;
  readonly maxTokens: number;
  readonly temperature: number;
}

const NAMES = ['attack', 'id', 'seed', 'maxTokens', 'temperature'] as const satisfies readonly (keyof Draw)[];

interface TemplateBody {
  readonly json?: unknown;
  readonly form?: Readonly<Record<string, string>> | undefined;
}

export interface RequestTemplate {
  readonly url: string;
  readonly body?: TemplateBody | undefined;
}

export interface FilledRequest {
  readonly url: URL;
  readonly body: string | undefined;
  readonly contentType: string | undefined;
}

const PLACEHOLDER = /\{\{\s*([^{}]*?)\s*\}\}/g;
const WHOLE = /^\{\{\s*([^{}]*?)\s*\}\}$/;

type Values = Readonly<Record<string, string | number>>;

function refuse(key: string, name: string): FloodgateError {
  return new FloodgateError('config', `${key}: got {{${name}}}, expected one of ${NAMES.join(', ')}, env.NAME`);
}

/** Every text of a JSON value with the key that leads to it. */
function textsIn(value: unknown, key: string): [key: string, text: string][] {
  if (typeof value === 'string') return [[key, value]];
  if (value === null || typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([name, item]) => textsIn(item, `${key}.${name}`));
}

function placeholdersIn(text: string): string[] {
  return [...text.matchAll(PLACEHOLDER)].map(([, name]) => name as string);
}

/** The JSON of a body, where it is written as a text. @throws FloodgateError `config` for a text that is no JSON. */
function parseJsonTemplate(json: unknown): unknown {
  if (typeof json !== 'string') return json;
  try {
    return JSON.parse(json);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FloodgateError('config', `target.body.json: got ${json.slice(0, 200)}, expected JSON: ${reason}`, {
      hint: 'write placeholders within quotes, e.g. {"message": "{{attack}}"}, or write the body as YAML',
      cause,
    });
  }
}

/** The values of the environment that a template names. @throws FloodgateError `config` for one that is not set. */
function readEnvironment(texts: readonly [string, string][]): Values {
  const names = texts.flatMap(([key, text]) => placeholdersIn(text).map((name) => [key, name] as const));
  return Object.fromEntries(
    names.flatMap(([key, name]) => {
      if (NAMES.includes(name as never)) return [];
      const [, variable] = /^env\.([A-Za-z_][A-Za-z0-9_]*)$/.exec(name) ?? [];
      if (variable === undefined) throw refuse(key, name);
      return [[name, readEnvironmentValue(variable, key)]];
    }),
  );
}

function fillText(text: string, values: Values, encode: (value: string) => string): string {
  return text.replace(PLACEHOLDER, (_match, name: string) => encode(String(values[name])));
}

/** The JSON value with its texts filled in. A text that is one placeholder takes the value's own type. */
function fillJson(value: unknown, values: Values): unknown {
  if (typeof value === 'string') {
    const name = WHOLE.exec(value)?.[1];
    return name === undefined ? fillText(value, values, (text) => text) : values[name];
  }
  if (Array.isArray(value)) return value.map((item) => fillJson(item, values));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fillJson(item, values)]));
}

/** Percent-encoding; halves of surrogate pairs, which it refuses, become U+FFFD. */
function encodeForUrl(text: string): string {
  return encodeURIComponent(Buffer.from(text).toString());
}

/**
 * Reads a template once and fills it for each call. Values are escaped as their place needs: in the address, in JSON, in
 * a form. An attack can so never end the text that it is in.
 *
 * @throws FloodgateError `config` for a body that is no JSON, an unknown placeholder, an environment variable that is
 * not set, and a template without `{{attack}}`.
 */
export function compileTemplate({ url, body }: RequestTemplate): (draw: Draw) => FilledRequest {
  const json = parseJsonTemplate(body?.json);
  const form = body?.form;
  const texts = [
    ['target.url', url] as [string, string],
    ...textsIn(json, 'target.body.json'),
    ...textsIn(form, 'target.body.form'),
  ];
  const environment = readEnvironment(texts);
  if (!texts.some(([, text]) => placeholdersIn(text).includes('attack')))
    throw new FloodgateError(
      'config',
      'target: no {{attack}} in url or body, so every attack would be the same request',
      {
        hint: 'write {{attack}} where the app expects the message of a user',
      },
    );
  return (draw) => {
    const values: Values = { ...environment, ...draw };
    return { url: new URL(fillText(url, values, encodeForUrl)), ...fillBody({ json, form }, values) };
  };
}

function fillBody({ json, form }: TemplateBody, values: Values) {
  if (json !== undefined) return { body: JSON.stringify(fillJson(json, values)), contentType: 'application/json' };
  if (form === undefined) return { body: undefined, contentType: undefined };
  const filled = Object.entries(form).map(([key, text]): [string, string] => [
    key,
    fillText(text, values, (value) => value),
  ]);
  return { body: new URLSearchParams(filled).toString(), contentType: 'application/x-www-form-urlencoded' };
}
