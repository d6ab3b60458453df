import { FloodgateError } from '../../base/errors.ts';
import { runWithin } from './bounded-work.ts';
import { Environment, type JinjaEnvironment, MeteredInterpreter, parse, tokenize } from './metered-interpreter.ts';

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

export interface ChatTemplate {
  /** The prompt text for `messages`; `addGenerationPrompt` (default true) opens the assistant's turn. */
  render(messages: readonly ChatMessage[], options?: { readonly addGenerationPrompt?: boolean }): string;
}

/** A template built to exhaust the parser: the longest real one has some 20,000 characters. */
const MAX_TEMPLATE_LENGTH = 262_144;
/** Work on long texts that takes hours. A real template takes milliseconds, also for a hundred thousand characters. */
const TIME_LIMIT_MS = 1_000;
/** A `range` of billions of items. */
const MAX_RANGE = 10_000;
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
  if (cause instanceof FloodgateError) return cause;
  const reason = cause instanceof Error ? cause.message.slice(0, 200) : String(cause);
  return new FloodgateError('format', `chat template: ${problem}: ${reason}`, { cause });
}

/** Returns the result of `work` on a template, in bounded time. @throws `format` */
function runTemplate<T>(problem: string, work: () => T): T {
  const hint = 'the chat template of this model is hostile or broken: use the files that the model was published with';
  try {
    return runWithin({ limitMs: TIME_LIMIT_MS, operation: 'chat template', hint }, work);
  } catch (cause) {
    throw templateError(problem, cause);
  }
}

/**
 * Returns the chat template of a Jinja source. Rendering sees a pinned date. It is bounded in processor time, in steps
 * and in the memory of all values together. The bounds hold for every template, known or not: they cost 0.1 to 0.2 ms
 * beside a model that answers in tens of milliseconds.
 * @throws `format` when the source does not parse; rendering throws `format` when the template refuses the messages
 *   or exceeds a bound
 */
export function createChatTemplate(source: string, tokens: TemplateTokens = {}): ChatTemplate {
  if (source.length > MAX_TEMPLATE_LENGTH) {
    throw new FloodgateError('format', `chat template: too long, got ${source.length} characters`);
  }
  const options = { lstrip_blocks: true, trim_blocks: true };
  const program = runTemplate('does not parse', () => parse(tokenize(source, options)));
  const render = (messages: readonly ChatMessage[], addGenerationPrompt: boolean): string => {
    const variables = { ...tokens, messages, add_generation_prompt: addGenerationPrompt, tools: null, documents: null };
    return runTemplate('cannot be rendered', () => {
      const result: unknown = new MeteredInterpreter(createEnvironment(variables)).run(program).value;
      if (typeof result !== 'string') throw new Error('it gives no text');
      return result;
    });
  };
  return { render: (messages, options = {}) => render(messages, options.addGenerationPrompt ?? true) };
}
