import { GPT2_PATTERN, haveKnownPatterns, WORD_PATTERN } from './known-patterns.ts';
import { GrowthLimit, runPatterns } from './tokenizer-growth.ts';
import type { PreTokenizerConfig } from './tokenizer-json.ts';
import { compilePattern, type SplitRule, splitText } from './tokenizer-pattern.ts';

/** Splits one piece of text further. `isFirst`: the piece begins the text. */
type PreTokenizeStep = (piece: string, isFirst: boolean) => string[];
export type PreTokenize = (text: string, isFirst: boolean) => string[];

const PUNCTUATION = /[\p{P}!-/:-@[-`{-~]/gu;
const WHITE_SPACE_RUN = /\p{White_Space}+/gu;

/** GPT-2's printable stand-in for each byte: itself where printable, else a character from U+0100 on. */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  let next = 0x100;
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
})();

function toByteCharacters(text: string): string {
  let characters = '';
  for (const byte of Buffer.from(text, 'utf8')) characters += BYTE_CHARACTERS[byte];
  return characters;
}

function byRule(rule: SplitRule): PreTokenizeStep {
  return (piece) => splitText(piece, rule);
}

function byteLevel(config: Extract<PreTokenizerConfig, { type: 'ByteLevel' }>): PreTokenizeStep {
  const rule: SplitRule = { pattern: compilePattern({ Regex: GPT2_PATTERN }), behavior: 'Isolated' };
  return (piece) => {
    const text = config.add_prefix_space && !piece.startsWith(' ') ? ` ${piece}` : piece;
    return (config.use_regex ? splitText(text, rule) : [text]).map(toByteCharacters);
  };
}

type MetaspaceConfig = Extract<PreTokenizerConfig, { type: 'Metaspace' }>;

/** Older files say `add_prefix_space` where newer ones say `prepend_scheme`. */
export function prependSchemeOf(config: Omit<MetaspaceConfig, 'type'>): 'always' | 'first' | 'never' {
  if (config.prepend_scheme !== undefined) return config.prepend_scheme;
  return config.add_prefix_space === false ? 'never' : 'always';
}

function metaspace(config: MetaspaceConfig): PreTokenizeStep {
  const { replacement } = config;
  const scheme = prependSchemeOf(config);
  const rule: SplitRule = { pattern: compilePattern({ String: replacement }), behavior: 'MergedWithNext' };
  return (piece, isFirst) => {
    const replaced = piece.replaceAll(' ', replacement);
    const isPrefixed = scheme === 'always' || (scheme === 'first' && isFirst);
    const text = isPrefixed && !replaced.startsWith(replacement) ? replacement + replaced : replaced;
    return config.split ? splitText(text, rule) : [text];
  };
}

/** Removes white space and isolates each punctuation character. */
function bert(): PreTokenizeStep {
  const space: SplitRule = { pattern: WHITE_SPACE_RUN, behavior: 'Removed' };
  const punctuation: SplitRule = { pattern: PUNCTUATION, behavior: 'Isolated' };
  return (piece) => splitText(piece, space).flatMap((word) => splitText(word, punctuation));
}

function createStep(config: PreTokenizerConfig): PreTokenizeStep {
  switch (config.type) {
    case 'ByteLevel':
      return byteLevel(config);
    case 'Split': {
      const { behavior, invert } = config;
      return byRule({ pattern: compilePattern(config.pattern), behavior, invert });
    }
    case 'Digits':
      return byRule({ pattern: /\p{N}/gu, behavior: config.individual_digits ? 'Isolated' : 'Contiguous' });
    case 'Punctuation':
      return byRule({ pattern: PUNCTUATION, behavior: config.behavior });
    case 'BertPreTokenizer':
      return bert();
    case 'Whitespace':
      return byRule({
        pattern: compilePattern({ Regex: WORD_PATTERN }),
        behavior: 'Removed',
        invert: true,
      });
    case 'WhitespaceSplit':
      return byRule({ pattern: WHITE_SPACE_RUN, behavior: 'Removed' });
    case 'Metaspace':
      return metaspace(config);
  }
}

/**
 * Returns the function that splits a normalised text into the pieces that the model encodes. It throws `format` when
 * the pieces grow too long together, or an unknown pattern runs too long.
 * @throws `format` on a pattern that cannot be compiled
 */
export function createPreTokenize(configs: readonly PreTokenizerConfig[]): PreTokenize {
  const steps = configs.map(createStep);
  const preTokenize: PreTokenize = (text, isFirst) => {
    const growth = new GrowthLimit('pre-tokenizer', text.length);
    let pieces = [text];
    for (const step of steps) {
      pieces = pieces.flatMap((piece, index) => step(piece, isFirst && index === 0));
      growth.check(pieces.reduce((sum, piece) => sum + piece.length, 0));
    }
    return pieces;
  };
  if (haveKnownPatterns(configs)) return preTokenize;
  return (text, isFirst) => runPatterns('pre-tokenizer', text.length, () => preTokenize(text, isFirst));
}
