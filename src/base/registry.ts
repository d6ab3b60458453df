import { FloodgateError } from './errors.ts';
import { nearestName } from './nearest-name.ts';

/** Definitions by name: those that ship with Floodgate, and those that a caller adds. */
export interface Registry<Definition extends { readonly name: string }> {
  /** Grows by one with every addition, so that things built from the definitions know when to rebuild. */
  readonly version: number;
  /** In the order of registration. */
  all(): readonly Definition[];
  names(): string[];
  has(name: string): boolean;
  /** @throws FloodgateError `usage` for an unknown name, with the nearest known one. */
  get(name: string): Definition;
  /** @throws FloodgateError `usage` when the name is taken or cannot be a name. */
  add(definition: Definition): void;
}

export interface RegistryNames {
  readonly pattern: RegExp;
  /** The pattern in words, for messages. */
  readonly words: string;
}

/** Names become config values, database keys and parts of file names. */
const NAMES: RegistryNames = { pattern: /^[a-z][a-z0-9-]{0,63}$/, words: 'lower case, digits and dashes' };

/**
 * @param what names a definition in messages, e.g. `judge`.
 * @param allowed the names that definitions may have.
 */
export function createRegistry<Definition extends { readonly name: string }>(
  what: string,
  builtIn: readonly Definition[],
  allowed: RegistryNames = NAMES,
): Registry<Definition> {
  const definitions = new Map<string, Definition>();
  let version = 0;
  const add = (definition: Definition): void => {
    const { name } = definition;
    if (!allowed.pattern.test(name)) {
      const got = JSON.stringify(name);
      throw new FloodgateError('usage', `define ${what}: got the name ${got}, expected ${allowed.words}`);
    }
    if (definitions.has(name)) throw new FloodgateError('usage', `define ${what}: the name ${name} is taken`);
    definitions.set(name, definition);
    version++;
  };
  for (const definition of builtIn) add(definition);
  return {
    get version() {
      return version;
    },
    all: () => [...definitions.values()],
    names: () => [...definitions.keys()],
    has: (name) => definitions.has(name),
    get: (name) => {
      const found = definitions.get(name);
      if (found !== undefined) return found;
      const names = [...definitions.keys()];
      const near = nearestName(name, names);
      throw new FloodgateError('usage', `${what}: got ${name}, expected one of ${names.join(', ')}`, {
        ...(near === undefined ? {} : { hint: `did you mean ${near}?` }),
      });
    },
    add,
  };
}
