import { FloodgateError } from '../base/errors.ts';
import { readEnvironmentValue } from './secrets.ts';
import { WireFailure } from './wire-failure.ts';

/** The values that a request template may name, beside `{{env.NAME}}`. */
export interface Draw {
  readonly attack: string;
  /** Different for each call of a run. */
  readonly id: string;
  readonly seed: number;
  /** Of a conversation: every attack is its first turn. */
  readonly turn: number;
  readonly maxTokens: number;
  readonly temperature: number;
}

/** The placeholders of a template, and the section of the config that holds it. */
export interface TemplateRules<Name extends string = string> {
  /** First key of the section, for messages. */
  readonly section: string;
  readonly names: readonly Name[];
  /** Names without which every call would be the same. */
  readonly needed: readonly Name[];
  /** The advice where a needed one is missing. */
  readonly hint: string;
}

/** Templates of targets. */
export const OF_TARGETS: TemplateRules<keyof Draw> = {
  section: 'target',
  names: ['attack', 'id', 'turn', 'seed', 'maxTokens', 'temperature'],
  needed: ['attack'],
  hint: 'write {{attack}} where the app expects the message of a user',
};

interface TemplateBody {
  readonly json?: unknown;
  readonly form?: Readonly<Record<string, string>> | undefined;
}

export interface RequestTemplate {
  readonly url: string;
  readonly body?: TemplateBody | undefined;
  /** Each value is the name of an environment variable, or a text with placeholders. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

export interface FilledRequest {
  readonly url: URL;
  /** Those of the template, in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly contentType: string | undefined;
}

const PLACEHOLDER = /\{\{\s*([^{}]*?)\s*\}\}/g;
const WHOLE = /^\{\{\s*([^{}]*?)\s*\}\}$/;

type Values = Readonly<Record<string, string | number>>;

function refuse(key: string, name: string, names: readonly string[]): FloodgateError {
  return new FloodgateError('config', `${key}: got {{${name}}}, expected one of ${names.join(', ')}, env.NAME`);
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
function parseJsonTemplate(json: unknown, section: string): unknown {
  if (typeof json !== 'string') return json;
  try {
    return JSON.parse(json);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FloodgateError('config', `${section}.body.json: got ${json.slice(0, 200)}, expected JSON: ${reason}`, {
      hint: 'write placeholders within quotes, e.g. {"message": "{{attack}}"}, or write the body as YAML',
      cause,
    });
  }
}

/** The values of the environment that a template names. @throws FloodgateError `config` for one that is not set. */
function readEnvironment(texts: readonly [string, string][], own: readonly string[]): Values {
  const names = texts.flatMap(([key, text]) => placeholdersIn(text).map((name) => [key, name] as const));
  return Object.fromEntries(
    names.flatMap(([key, name]) => {
      if (own.includes(name)) return [];
      const [, variable] = /^env\.([A-Za-z_][A-Za-z0-9_]*)$/.exec(name) ?? [];
      if (variable === undefined) throw refuse(key, name, own);
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

/** Whether a text holds a placeholder. */
export function hasPlaceholder(text: string): boolean {
  return /\{\{[^{}]+\}\}/.test(text);
}

/** Characters that a header may hold (RFC 9110). A taken value with a line break would begin a header of its own. */
const HEADER_VALUE = /^[\t\x20-\x7e]*$/;

function safeHeader(name: string, value: string): string {
  if (HEADER_VALUE.test(value)) return value;
  throw new WireFailure('protocol', `the value of the header ${name} has characters that no header may have`, {
    isTransient: false,
  });
}

/** Fills the headers of a template. An attack has no place in them. */
function compileHeaders({ headers = {} }: RequestTemplate, { section, names, needed }: TemplateRules) {
  const key = (name: string): string => `${section}.headers.${name}`;
  const texts = Object.entries(headers).filter(([, text]) => hasPlaceholder(text));
  const own = names.filter((name) => !needed.includes(name));
  const environment = readEnvironment(
    texts.map(([name, text]) => [key(name), text]),
    own,
  );
  const fixed = Object.entries(headers)
    .filter(([, text]) => !hasPlaceholder(text))
    .map(([name, variable]) => [name.toLowerCase(), readEnvironmentValue(variable, key(name))]);
  return (draw: Values): Record<string, string> => {
    const values = { ...environment, ...draw };
    const filled = texts.map(([name, text]) => {
      const lower = name.toLowerCase();
      return [
        lower,
        safeHeader(
          lower,
          fillText(text, values, (value) => value),
        ),
      ];
    });
    return { ...Object.fromEntries(fixed), ...Object.fromEntries(filled) };
  };
}

/** Percent-encoding; halves of surrogate pairs, which it refuses, become U+FFFD. */
function encodeForUrl(text: string): string {
  return encodeURIComponent(Buffer.from(text).toString());
}

/** A part of a path that an address takes for an order to leave it, however it is written. */
const DOT_SEGMENT = /^(?:\.|%2e){1,2}$/i;

/** Fills an address. @throws WireFailure for a value such as `..`, which would call another method of the server. */
function fillUrl(template: string, values: Values): URL {
  const text = fillText(template, values, encodeForUrl);
  const [parts, filled] = [template, text].map((each) => (each.split(/[?#]/)[0] as string).split('/'));
  const leaves = filled?.some((part, i) => DOT_SEGMENT.test(part) && part !== parts?.[i]);
  if (!leaves) return new URL(text);
  throw new WireFailure('protocol', `a value in the address would leave the path of ${template.slice(0, 200)}`, {
    isTransient: false,
  });
}

/**
 * Reads a template once and fills it for each call. Values are escaped as their place needs: in the address, in JSON, in
 * a form. An attack can so never end the text that it is in.
 *
 * @throws FloodgateError `config` for a body that is no JSON, an unknown placeholder, an environment variable that is
 * not set, and a template without a needed name, for a target `{{attack}}`.
 */
export function compileTemplate<Named extends object = Draw>(
  template: RequestTemplate,
  rules: TemplateRules = OF_TARGETS,
): (draw: Named) => FilledRequest {
  const { url, body } = template;
  const { section, names, needed, hint } = rules;
  const json = parseJsonTemplate(body?.json, section);
  const form = body?.form;
  const texts = [
    [`${section}.url`, url] as [string, string],
    ...textsIn(json, `${section}.body.json`),
    ...textsIn(form, `${section}.body.form`),
  ];
  const environment = readEnvironment(texts, names);
  const missing = needed.find((name) => !texts.some(([, text]) => placeholdersIn(text).includes(name)));
  if (missing !== undefined)
    throw new FloodgateError(
      'config',
      `${section}: no {{${missing}}} in url or body, so every ${missing} would be the same request`,
      { hint },
    );
  const headers = compileHeaders(template, rules);
  return (draw) => {
    const values = { ...environment, ...draw } as Values;
    return { url: fillUrl(url, values), headers: headers(values), ...fillBody({ json, form }, values) };
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
