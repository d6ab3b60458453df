/** A value of the template library. Lists hold values, objects are maps of values. */
export interface TemplateValue {
  readonly type: string;
  readonly value: unknown;
}

/** A text that doubles repeatedly. No tokenizer takes more than half of it. */
const MAX_LENGTH = 4_000_000;
/** A list of millions, each of which the library gives a hundred bytes and more. */
const MAX_ELEMENTS = 100_000;
/** Lists in lists: indented JSON repeats its margin for each level. */
const MAX_DEPTH = 64;
/** All memory that the values of one rendering take, garbage included. */
const MAX_BYTES = 256 * 1024 * 1024;
const VALUE_BYTES = 64;
const ENTRY_BYTES = 100;

interface Measure {
  /** Characters of the value when it is written out, about: lists that hold a list twice count it twice. */
  readonly length: number;
  readonly depth: number;
}

const SCALAR: Measure = { length: 24, depth: 0 };

function refuse(problem: string): never {
  throw new Error(`it makes ${problem}`);
}

/**
 * Counts what the values of one rendering take, and refuses values that are too large. Each value is charged when it is
 * first seen, so that reading a variable again costs nothing.
 */
export class WorkMeter {
  #bytes = 0;
  readonly #measures = new WeakMap<TemplateValue, Measure>();

  /** Adds memory about to be taken; a negative number gives it back. @throws when it is too much in all */
  charge(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > MAX_BYTES) refuse(`values of more than ${MAX_BYTES} bytes`);
  }

  /** Refuses a text or list of a length that an operation is about to make. */
  requireLength(length: number): void {
    if (!(length <= MAX_LENGTH)) refuse(`a text of ${length} characters, expected at most ${MAX_LENGTH}`);
  }

  /** @throws when the list is too long */
  requireElements(count: number): void {
    if (!(count <= MAX_ELEMENTS)) refuse(`a list of ${count} items, expected at most ${MAX_ELEMENTS}`);
  }

  /** Size of a value. @throws when it is too large or too deep */
  measure(value: TemplateValue | undefined): Measure {
    if (value === undefined || (typeof value.value !== 'string' && typeof value.value !== 'object')) return SCALAR;
    // A namespace changes. It is measured each time, and may not lie within another value.
    if (value.type === 'NamespaceValue') return this.#measureMap(value.value as Map<string, TemplateValue>);
    const known = this.#measures.get(value);
    if (known !== undefined) return known;
    const measure = this.#measureNew(value);
    this.#measures.set(value, measure);
    return measure;
  }

  #measureNew({ value }: TemplateValue): Measure {
    if (typeof value === 'string') {
      this.requireLength(value.length);
      this.charge(VALUE_BYTES + 2 * value.length);
      return { length: value.length, depth: 0 };
    }
    if (Array.isArray(value)) {
      this.requireElements(value.length);
      this.charge(VALUE_BYTES + 8 * value.length);
      return this.#sum(value, 2 * value.length);
    }
    if (value instanceof Map) {
      this.charge(VALUE_BYTES + ENTRY_BYTES * value.size);
      return this.#measureMap(value);
    }
    return SCALAR;
  }

  #measureMap(map: ReadonlyMap<string, TemplateValue>): Measure {
    this.requireElements(map.size);
    let keys = 0;
    for (const key of map.keys()) keys += key.length + 6;
    return this.#sum(map.values(), keys);
  }

  /** The measure of a list or object: `own` characters and those of its values. */
  #sum(values: Iterable<TemplateValue>, own: number): Measure {
    let length = own;
    let depth = 0;
    for (const value of values) {
      if (value?.type === 'NamespaceValue') refuse('a namespace part of another value');
      const inner = this.measure(value);
      length += inner.length;
      depth = Math.max(depth, inner.depth);
      this.requireLength(length);
    }
    if (depth >= MAX_DEPTH) refuse(`a value more than ${MAX_DEPTH} deep`);
    return { length, depth: depth + 1 };
  }
}
