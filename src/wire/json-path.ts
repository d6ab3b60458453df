import type { JSONPathEnvironment, JSONPathQuery, JSONValue } from 'json-p3';
import { FloodgateError } from '../base/errors.ts';
import { latePackage } from '../base/late-package.ts';

const jsonPath = latePackage<typeof import('json-p3')>('json-p3');

/** Finds values in a JSON document by a path of RFC 9535. */
export interface JsonPath {
  readonly text: string;
  /** The first value found; undefined when there is none. @throws Error for a document that is nested too deeply. */
  first(document: unknown): unknown;
}

/** Deepest document that a path descends into: stops a reply of a million brackets from filling the stack. */
const MAX_DEPTH = 100;

let opened: JSONPathEnvironment | undefined;

function environment(): JSONPathEnvironment {
  opened ??= new (jsonPath().JSONPathEnvironment)({ maxRecursionDepth: MAX_DEPTH });
  return opened;
}

/** @param key config key, for messages. @throws FloodgateError `config` for a text that is no path. */
export function parseJsonPath(text: string, key: string): JsonPath {
  let query: JSONPathQuery;
  try {
    query = environment().compile(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FloodgateError('config', `${key}: got ${text}, expected a JSONPath: ${reason}`, {
      hint: `begin at the whole answer, which is $, e.g. ${key.split('.').at(-1)}: $.choices[0].message.content`,
      cause,
    });
  }
  return { text, first: (document) => query.match(document as JSONValue)?.value };
}

/** A value of a document that holds no others, with the path and the last key that lead to it. */
export interface Leaf {
  readonly path: string;
  /** The nearest key that is a name: that of the list for an item of a list. */
  readonly key: string;
  readonly value: unknown;
}

/** Most leaves that are looked at, and the deepest of them. */
const MAX_LEAVES = 200;
const LEAF_DEPTH = 8;

/** The leaves of a document, in its order. */
export function valueLeaves(document: unknown): Leaf[] {
  const leaves: Leaf[] = [];
  const walk = (value: unknown, at: Omit<Leaf, 'value'>, depth: number): void => {
    if (leaves.length >= MAX_LEAVES || depth > LEAF_DEPTH) return;
    if (value === null || typeof value !== 'object') leaves.push({ ...at, value });
    else
      for (const [name, item] of Object.entries(value)) {
        const key = Array.isArray(value) ? at.key : name;
        walk(item, { path: `${at.path}${step(value, name)}`, key }, depth + 1);
      }
  };
  walk(document, { path: '$', key: '' }, 0);
  return leaves;
}

/** The texts among the leaves of a document. */
export function textLeaves(document: unknown): (Omit<Leaf, 'value'> & { readonly text: string })[] {
  return valueLeaves(document).flatMap(({ path, key, value }) =>
    typeof value === 'string' ? [{ path, key, text: value }] : [],
  );
}

/** Most paths that an error names. */
const SHOWN_PATHS = 5;

/** Paths of the first texts in a document: a remedy for a path that finds nothing. */
export function pathsOfTexts(document: unknown): string[] {
  return textLeaves(document)
    .slice(0, SHOWN_PATHS)
    .map(({ path }) => path);
}

function step(parent: object, key: string): string {
  if (Array.isArray(parent)) return `[${key}]`;
  return /^[A-Za-z_]\w*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
}
