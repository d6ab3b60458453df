import { JSONPathEnvironment, type JSONPathQuery, type JSONValue } from 'json-p3';
import { FloodgateError } from '../base/errors.ts';

/** Finds values in a JSON document by a path of RFC 9535. */
export interface JsonPath {
  readonly text: string;
  /** The first value found; undefined when there is none. @throws Error for a document that is nested too deeply. */
  first(document: unknown): unknown;
}

/** Deepest document that a path descends into: stops a reply of a million brackets from filling the stack. */
const MAX_DEPTH = 100;

const environment = new JSONPathEnvironment({ maxRecursionDepth: MAX_DEPTH });

/** @param key config key, for messages. @throws FloodgateError `config` for a text that is no path. */
export function parseJsonPath(text: string, key: string): JsonPath {
  let query: JSONPathQuery;
  try {
    query = environment.compile(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FloodgateError('config', `${key}: got ${text}, expected a JSONPath: ${reason}`, {
      hint: `begin at the whole answer, which is $, e.g. ${key.split('.').at(-1)}: $.choices[0].message.content`,
      cause,
    });
  }
  return { text, first: (document) => query.match(document as JSONValue)?.value };
}

/** Most paths that an error names, and the deepest of them. */
const SHOWN_PATHS = 5;
const SHOWN_DEPTH = 8;

/** Paths of the texts in a document, in its order: a remedy for a path that finds nothing. */
export function pathsOfTexts(document: unknown): string[] {
  const paths: string[] = [];
  const walk = (value: unknown, path: string, depth: number): void => {
    if (paths.length >= SHOWN_PATHS || depth > SHOWN_DEPTH) return;
    if (typeof value === 'string') paths.push(path);
    if (value === null || typeof value !== 'object') return;
    for (const [key, item] of Object.entries(value)) walk(item, `${path}${step(value, key)}`, depth + 1);
  };
  walk(document, '$', 0);
  return paths;
}

function step(parent: object, key: string): string {
  if (Array.isArray(parent)) return `[${key}]`;
  return /^[A-Za-z_]\w*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
}
