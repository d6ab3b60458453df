import * as jinja from '@huggingface/jinja';
import { type TemplateValue, WorkMeter } from './template-meter.ts';

export interface JinjaEnvironment {
  set(name: string, value: unknown): unknown;
}

interface JinjaInterpreter {
  evaluate(node: unknown, environment: unknown): unknown;
  run(program: unknown): { readonly value: unknown };
}

interface JinjaLibrary {
  readonly Environment: new () => JinjaEnvironment;
  readonly Interpreter: new (environment: JinjaEnvironment) => JinjaInterpreter;
  tokenize(source: string, options: { readonly lstrip_blocks: boolean; readonly trim_blocks: boolean }): unknown;
  parse(tokens: unknown): unknown;
}

// The package's type declarations import each other without file endings, which Node's module rules do not resolve;
// these are the parts we use, declared by hand.
export const { Environment, Interpreter, parse, tokenize } = jinja as unknown as JinjaLibrary;

/** The parts of a syntax node that tell what its operation may make. */
interface Node {
  readonly type: string;
  readonly args?: readonly Node[];
  readonly call?: Node;
  readonly callee?: Node;
  readonly filter?: Node;
  readonly property?: Node;
  readonly computed?: boolean;
  readonly value?: unknown;
}

/** One node under evaluation, and the values of its operands so far. */
interface Frame {
  readonly node: Node;
  /** Number of operands to keep. Later values belong to the body of a loop or macro. */
  readonly arity: number;
  readonly operands: (TemplateValue | undefined)[];
  /** Memory that lasts as long as the evaluation. */
  borrowed: number;
  /** Characters of a filter's block. */
  length: number;
}

/** A method of a text, such as `replace`, and that text. */
interface Method {
  readonly name: string;
  readonly text: string;
}

/**
 * Loops in loops that never end: a real template evaluates some 40 to 300 nodes for a message. The library takes up to
 * 10 µs for a node, most of it for a new scope in each pass of a loop.
 */
const MAX_STEPS = 50_000;
/** The library's closures and scopes for one pass of a loop. */
const LOOP_ITEM_BYTES = 250;
/** The library's dozen closures for a value whose methods were asked for. */
const METHODS_BYTES = 3_000;

/** Filters with arguments whose result is no longer than what goes in. */
const LINEAR_FILTERS: ReadonlySet<string> = new Set(
  'abs default dictsort first float get int items keys last length list map reverse rejectattr safe selectattr sort unique values'.split(
    ' ',
  ),
);
/** The same of the methods of texts. */
const LINEAR_METHODS: ReadonlySet<string> = new Set(
  'capitalize endswith length lower lstrip rstrip startswith strip title upper'.split(' '),
);

function arityOf({ type, args, call, filter }: Node): number {
  switch (type) {
    case 'CallExpression':
      return (args?.length ?? 0) + 1;
    case 'CallStatement':
      return (call?.args?.length ?? 0) + 1;
    case 'FilterExpression':
      return (filter?.args?.length ?? 0) + 1;
    case 'MemberExpression':
      return 2;
    case 'For':
      return 1;
    default:
      return 0;
  }
}

function textOf(value: TemplateValue | undefined): string | undefined {
  return typeof value?.value === 'string' ? value.value : undefined;
}

/** Occurrences of `part`, or of runs of white space; stops above `most`. */
function countParts(text: string, part: string | undefined, most: number): number {
  if (part === '') return text.length + 1;
  let count = 0;
  if (part === undefined) {
    for (const _ of text.matchAll(/\s+/g)) if (++count > most) break;
  } else {
    for (let at = text.indexOf(part); at >= 0 && count <= most; at = text.indexOf(part, at + part.length)) count++;
  }
  return count;
}

function sizeOf(value: unknown): number {
  if (Array.isArray(value)) return value.length;
  return value instanceof Map ? value.size : 0;
}

/**
 * Interprets a template within bounds of steps and memory. The library's own bounds are none. It evaluates a node by
 * evaluating the node's operands through `evaluate`, and then works on their values. So the operands of each operation
 * that can multiply (`replace`, `split`, `join`, `indent`, `tojson`) are seen, and its result is foretold.
 */
export class MeteredInterpreter extends Interpreter {
  #steps = 0;
  #frame: Frame | undefined;
  readonly #meter = new WorkMeter();
  readonly #methods = new WeakMap<TemplateValue, Method>();
  readonly #withMethods = new WeakSet<TemplateValue>();

  override evaluate(node: unknown, environment: unknown): unknown {
    if (++this.#steps > MAX_STEPS) throw new Error(`more than ${MAX_STEPS} steps`);
    if (node === undefined || node === null) return super.evaluate(node, environment);
    const outer = this.#frame;
    const frame: Frame = { node: node as Node, arity: arityOf(node as Node), operands: [], borrowed: 0, length: 0 };
    if (frame.node.type === 'FilterStatement' && frame.node.filter?.type === 'CallExpression') {
      throw new Error('a filter of a block has arguments, which is not supported');
    }
    this.#frame = frame;
    try {
      const value = super.evaluate(node, environment) as TemplateValue | undefined;
      if (frame.node.type === 'MemberExpression') this.#noteMethod(frame, value);
      const { length } = this.#meter.measure(value);
      if (outer !== undefined) this.#addOperand(outer, value, length);
      return value;
    } finally {
      this.#frame = outer;
      if (frame.borrowed > 0) this.#meter.charge(-frame.borrowed);
    }
  }

  #addOperand(frame: Frame, value: TemplateValue | undefined, length: number): void {
    const { node, operands } = frame;
    if (node.type === 'FilterStatement') {
      frame.length += length;
      this.#meter.requireLength(frame.length);
    }
    if (operands.length >= frame.arity) return;
    operands.push(value);
    if (node.type === 'For') {
      frame.borrowed = LOOP_ITEM_BYTES * sizeOf(value?.value);
      this.#meter.charge(frame.borrowed);
    } else if (node.type === 'FilterExpression' && operands.length > 1) {
      this.#checkFilter(String(node.filter?.callee?.value), operands);
    } else if (node.type === 'CallExpression' || node.type === 'CallStatement') {
      const method = value === undefined ? undefined : this.#methods.get(value);
      if (method !== undefined) this.#checkMethod(method, operands.slice(0, -1));
    }
  }

  /** Remembers the text of a method that can multiply it, and charges for the methods that the library makes. */
  #noteMethod({ node, operands }: Frame, value: TemplateValue | undefined): void {
    const [object, property] = operands;
    if (object === undefined || node.property?.type === 'SliceExpression') return;
    const name = node.computed === true ? textOf(property) : String(node.property?.value);
    const isField = object.value instanceof Map && object.value.has(String(name));
    if (name !== undefined && !isField && !this.#withMethods.has(object)) {
      this.#withMethods.add(object);
      this.#meter.charge(METHODS_BYTES);
    }
    const text = textOf(object);
    if (text === undefined || name === undefined || value?.type !== 'FunctionValue') return;
    if (!LINEAR_METHODS.has(name)) this.#methods.set(value, { name, text });
  }

  #checkFilter(name: string, [operand, ...args]: readonly (TemplateValue | undefined)[]): void {
    if (LINEAR_FILTERS.has(name)) return;
    const text = textOf(operand);
    if (name === 'replace' && text !== undefined) {
      this.#checkReplace(text, args);
      return;
    }
    const { length, depth } = this.#meter.measure(operand);
    const elements = sizeOf(operand?.value);
    const factor = this.#lengthOf(args);
    if (name === 'join' && text === undefined) this.#meter.requireLength(length + elements * factor);
    else this.#meter.requireLength(length + (length + 1) * factor * (depth + 1));
  }

  #checkMethod({ name, text }: Method, args: readonly (TemplateValue | undefined)[]): void {
    if (name === 'replace') {
      this.#checkReplace(text, args);
    } else if (name === 'split') {
      const separator = args[0]?.type === 'ArrayValue' ? '' : textOf(args[0]); // a list: spread arguments
      this.#meter.requireElements(countParts(text, separator, text.length));
    } else {
      this.#meter.requireLength(text.length + (text.length + 1) * this.#lengthOf(args));
    }
  }

  #checkReplace(text: string, args: readonly (TemplateValue | undefined)[]): void {
    const [from, to] = [textOf(args[0]), textOf(args[1])];
    const isPlain = from !== undefined && to !== undefined;
    const count = countParts(text, isPlain ? from : '', text.length);
    this.#meter.requireLength(text.length + count * (isPlain ? to.length : this.#lengthOf(args)));
  }

  /** Characters that arguments may add: an integer is a number of spaces. */
  #lengthOf(args: readonly (TemplateValue | undefined)[]): number {
    return args.reduce((sum, arg) => {
      if (arg?.type === 'IntegerValue') return sum + Math.abs(Number(arg.value));
      return arg?.type === 'BooleanValue' || arg?.type === 'NullValue' ? sum : sum + this.#meter.measure(arg).length;
    }, 0);
  }
}
