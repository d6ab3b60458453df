import type { PatternConfig } from './tokenizer-json.ts';

/** GPT-2's split into words, numbers, punctuation and white space, in the syntax of a tokenizer.json. */
export const GPT2_PATTERN = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** Llama 3's split, with up to three digits in a piece. */
export const LLAMA3_PATTERN = llama3Pattern('\\p{N}{1,3}');

/** Qwen 2's split: Llama 3's with single digits. */
export const QWEN2_PATTERN = llama3Pattern('\\p{N}');

/** The split of the pre-tokenizer `Whitespace`. */
export const WORD_PATTERN = '\\w+|[^\\w\\s]+';

function llama3Pattern(digits: string): string {
  return (
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" +
    `${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`
  );
}

/** Linear in the text's length: their alternatives begin with different characters, or end a run at once. */
const LINEAR_PATTERNS: ReadonlySet<string> = new Set([GPT2_PATTERN, LLAMA3_PATTERN, QWEN2_PATTERN, WORD_PATTERN]);

/** A literal text of thousands of equal characters is compared again at every position. */
const MAX_LITERAL_LENGTH = 64;

/** Whether `pattern` may run without a limit on its time. */
export function isKnownPattern(pattern: PatternConfig): boolean {
  return 'Regex' in pattern ? LINEAR_PATTERNS.has(pattern.Regex) : pattern.String.length <= MAX_LITERAL_LENGTH;
}

/** Whether every component with a pattern has a known one. */
export function haveKnownPatterns(configs: readonly object[]): boolean {
  return configs.every((config) => !('pattern' in config) || isKnownPattern(config.pattern as PatternConfig));
}
