import * as jinja from '@huggingface/jinja';
import { FloodgateError } from '../../base/errors.ts';

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

export interface ChatTemplate {
  /** The prompt text for `messages`; `addGenerationPrompt` (default true) opens the assistant's turn. */
  render(messages: readonly ChatMessage[], options?: { readonly addGenerationPrompt?: boolean }): string;
}

interface JinjaEnvironment {
  set(name: string, value: unknown): unknown;
}

interface JinjaInterpreter {
  evaluate(statement: unknown, environment: unknown): unknown;
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
const { Environment, Interpreter, parse, tokenize } = jinja as unknown as JinjaLibrary;

/** A template built to exhaust the parser: the longest real one has some 20,000 characters. */
const MAX_TEMPLATE_LENGTH = 262_144;
/** Loops in loops that never end: a real template evaluates a few hundred nodes for a message. */
const MAX_STEPS = 2_000_000;
/** A `range` of billions of items. */
const MAX_RANGE = 10_000;
/** A text that doubles repeatedly. */
const MAX_PROMPT_LENGTH = 16_000_000;

/** The date that every template sees, so that a run repeats. Llama 3's template falls back to the same date. */
const PINNED_DATE: Readonly<Record<string, string>> = {
  '%d': '26',
  '%b': 'Jul',
  '%B': 'July',
  '%m': '07',
  '%Y': '2024',
  '%y': '24',
  '%A': 'Friday',
  '%a': 'Fri',
  '%H': '00',
  '%M': '00',
  '%S': '00',
  '%%': '%',
};

/** Texts of the model's own tokens, by the names that templates use (`bos_token`, `eos_token`, ...). */
export type TemplateTokens = Readonly<Record<string, string>>;

/** Stops a template that runs too long. */
class BoundedInterpreter extends Interpreter {
  #steps = 0;

  override evaluate(statement: unknown, environment: unknown): unknown {
    if (++this.#steps > MAX_STEPS) throw new Error(`more than ${MAX_STEPS} steps`);
    return super.evaluate(statement, environment);
  }
}

function boundedRange(first: unknown, second?: unknown, step: unknown = 1): number[] {
  const [start, stop] = second === undefined ? [0, Number(first)] : [Number(first), Number(second)];
  const stride = Number(step);
  const length = Math.max(0, Math.ceil((stop - start) / stride));
  if (!(length <= MAX_RANGE)) throw new Error(`range() of ${length} items, expected at most ${MAX_RANGE}`);
  return Array.from({ length }, (_, index) => start + index * stride);
}

function createEnvironment(variables: Readonly<Record<string, unknown>>): JinjaEnvironment {
  const environment = new Environment();
  const globals: Record<string, unknown> = {
    true: true,
    True: true,
    false: false,
    False: false,
    none: null,
    None: null,
    range: boundedRange,
    raise_exception: (message: unknown) => {
      throw new Error(String(message));
    },
    strftime_now: (format: unknown) => String(format).replace(/%[A-Za-z%]/g, (code) => PINNED_DATE[code] ?? ''),
  };
  for (const [name, value] of Object.entries({ ...variables, ...globals })) environment.set(name, value);
  return environment;
}

function templateError(problem: string, cause: unknown): FloodgateError {
  const reason = cause instanceof Error ? cause.message.slice(0, 200) : String(cause);
  return new FloodgateError('format', `chat template: ${problem}: ${reason}`, { cause });
}

/**
 * Returns the chat template of a Jinja source. Rendering is bounded in steps and sees a pinned date.
 * @throws `format` when the source does not parse; rendering throws `format` when the template refuses the messages.
 */
export function createChatTemplate(source: string, tokens: TemplateTokens = {}): ChatTemplate {
  if (source.length > MAX_TEMPLATE_LENGTH) {
    throw new FloodgateError('format', `chat template: too long, got ${source.length} characters`);
  }
  let program: unknown;
  try {
    program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
  } catch (cause) {
    throw templateError('does not parse', cause);
  }
  const render = (messages: readonly ChatMessage[], addGenerationPrompt: boolean): string => {
    const variables = { ...tokens, messages, add_generation_prompt: addGenerationPrompt, tools: null, documents: null };
    try {
      const result: unknown = new BoundedInterpreter(createEnvironment(variables)).run(program).value;
      if (typeof result !== 'string') throw new Error('it gives no text');
      if (result.length > MAX_PROMPT_LENGTH) throw new Error(`it gives ${result.length} characters`);
      return result;
    } catch (cause) {
      throw templateError('cannot be rendered', cause);
    }
  };
  return { render: (messages, options = {}) => render(messages, options.addGenerationPrompt ?? true) };
}
