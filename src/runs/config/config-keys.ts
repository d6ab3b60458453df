import { distance } from 'fastest-levenshtein';
import type { z } from 'zod';

/** One key that a config may hold, in the order of the schema. */
export interface ConfigKey {
  /** Dotted path; `[]` means any element of a list. */
  readonly path: string;
  /** The allowed values, in words. */
  readonly type: string;
  /** JSON of the default; undefined when the key is required, or optional without one. */
  readonly defaultText: string | undefined;
  readonly optional: boolean;
  readonly description: string | undefined;
}

interface SchemaNode {
  readonly def: {
    readonly type: string;
    readonly innerType?: SchemaNode;
    readonly getter?: () => SchemaNode;
    readonly in?: SchemaNode;
    readonly element?: SchemaNode;
    readonly options?: readonly SchemaNode[];
    readonly shape?: Readonly<Record<string, SchemaNode>>;
    readonly entries?: Readonly<Record<string, string>>;
    readonly values?: readonly unknown[];
    readonly defaultValue?: unknown;
  };
  readonly description?: string;
  /** Of zod's number schema. */
  readonly isInt?: boolean;
}

interface Unwrapped {
  readonly node: SchemaNode;
  readonly defaultValue: unknown;
  readonly optional: boolean;
  readonly description: string | undefined;
}

/** Strips defaults, optionals and lazies, but keeps their content. */
function unwrap(schema: SchemaNode): Unwrapped {
  let node = schema;
  let defaultValue: unknown;
  let optional = false;
  let description = node.description;
  for (;;) {
    const { type, innerType, getter } = node.def;
    if (type === 'lazy' && getter !== undefined) node = getter();
    else if (type === 'pipe' && node.def.in !== undefined) node = node.def.in;
    else if (innerType === undefined) return { node, defaultValue, optional, description };
    else {
      if (type === 'default' || type === 'prefault') defaultValue = node.def.defaultValue;
      optional ||= type === 'optional';
      node = innerType;
    }
    description ??= node.description;
  }
}

function typeInWords({ def, isInt }: SchemaNode): string {
  switch (def.type) {
    case 'number':
      return isInt ? 'whole number' : 'number';
    case 'string':
      return 'text';
    case 'boolean':
      return 'true | false';
    case 'enum':
      return Object.values(def.entries ?? {}).join(' | ');
    case 'literal':
      return (def.values ?? []).map(String).join(' | ');
    case 'array':
      return def.element === undefined ? 'list' : `list of ${typeInWords(unwrap(def.element).node)}`;
    case 'object':
      return 'section';
    case 'record':
      return 'names with values';
    case 'unknown':
      return 'any value';
    case 'union': {
      const options = (def.options ?? []).map((option) => typeInWords(unwrap(option).node));
      return [...new Set(options)].join(' | ');
    }
    default:
      return def.type;
  }
}

/**
 * `within` holds the enclosing definitions. A kind inside itself is not listed again. A union is listed once more
 * inside itself, so that the judges of an ensemble have keys.
 */
function visitChildren(node: SchemaNode, path: string, within: readonly object[], keys: Map<string, ConfigKey>): void {
  const outer = within.filter((def) => def === node.def).length;
  if (outer > (node.def.type === 'union' ? 1 : 0)) return;
  const inside = [...within, node.def];
  const { shape, options, element } = node.def;
  for (const [name, child] of Object.entries(shape ?? {})) {
    visit(child, path === '' ? name : `${path}.${name}`, inside, keys);
  }
  for (const option of options ?? []) visitChildren(unwrap(option).node, path, inside, keys);
  if (element !== undefined) visitChildren(unwrap(element).node, `${path}[]`, inside, keys);
}

function visit(schema: SchemaNode, path: string, within: readonly object[], keys: Map<string, ConfigKey>): void {
  const { node, defaultValue, optional, description } = unwrap(schema);
  const earlier = keys.get(path);
  const isSection = typeInWords(node) === 'section';
  const ownDefault = isSection || defaultValue === undefined ? undefined : JSON.stringify(defaultValue);
  const isKind = node.def.type === 'literal' && description !== undefined;
  const ownDescription = isKind ? `${typeInWords(node)}: ${description}` : description;
  keys.set(path, {
    path,
    type: join(earlier?.type, typeInWords(node), ' | ') ?? '',
    defaultText: earlier?.defaultText ?? ownDefault,
    // A kind that may be left out is no required key because another kind of the section has to be named.
    optional: optional || (isKind && earlier?.optional === true) || (isSection && defaultValue !== undefined),
    description: join(earlier?.description, ownDescription, '; '),
  });
  visitChildren(node, path, within, keys);
}

/** A key that several kinds of a section share (`kind` itself, say) is listed once, with every type and meaning. */
function join(earlier: string | undefined, later: string | undefined, separator: string): string | undefined {
  if (earlier === undefined || later === undefined) return earlier ?? later;
  const parts = earlier.split(separator);
  return [...parts, ...later.split(separator).filter((part) => !parts.includes(part))].join(separator);
}

/** Returns every key of the schema, parents before children. */
export function listConfigKeys(schema: z.ZodType): ConfigKey[] {
  const keys = new Map<string, ConfigKey>();
  // zod types its definitions per class; the walk needs only the few fields named in SchemaNode.
  visitChildren(unwrap(schema as unknown as SchemaNode).node, '', [], keys);
  return [...keys.values()];
}

/**
 * Returns the valid key nearest to `key` found under `parent` (dotted, `[]` for list elements), or undefined when
 * nothing is near. A key of the same section wins over an equally near one elsewhere.
 */
export function nearestConfigKey(keys: readonly ConfigKey[], parent: string, key: string): string | undefined {
  let best: string | undefined;
  let bestScore = Math.max(2, Math.floor(key.length / 3)) + 0.75;
  for (const { path } of keys) {
    const cut = path.lastIndexOf('.');
    const name = path.slice(cut + 1);
    const isSibling = path.slice(0, Math.max(cut, 0)) === parent;
    const score = distance(name.toLowerCase(), key.toLowerCase()) + (isSibling ? 0 : 0.5);
    if (score < bestScore) [best, bestScore] = [path, score];
  }
  return best;
}
