import { haveKnownPatterns } from './known-patterns.ts';
import { GrowthLimit, runPatterns } from './tokenizer-growth.ts';
import type { NormalizerConfig } from './tokenizer-json.ts';
import { compilePattern } from './tokenizer-pattern.ts';

export type Normalize = (text: string) => string;
type NormalizeStep = (text: string, growth: GrowthLimit) => string;

/** Characters that BERT's cleaning removes: NUL, U+FFFD, and controls other than tab, line feed and carriage return. */
const BERT_DROPPED = /[\0\ufffd]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}]/gu;
const WHITE_SPACE = /\p{White_Space}/gu;
/** The CJK blocks that BERT surrounds with spaces, as listed in the original code. */
const BERT_CJK =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;
/** BERT removes nonspacing marks only; the normalizer `StripAccents` removes every mark. */
const NONSPACING_MARK = /\p{Mn}/gu;
const MARK = /\p{M}/gu;
const LEADING_SPACE = /^\p{White_Space}+/u;
/**
 * Matches one character. A scan from the end cuts trailing white space: an anchored regex is quadratic on long runs.
 */
const SPACE_CHARACTER = /^\p{White_Space}$/u;

/** Lower-cases each character by itself, as the original does: no final sigma, which depends on the context. */
function lowerCase(text: string): string {
  const lowered = text.toLowerCase();
  if (!lowered.includes('ς')) return lowered;
  let each = '';
  for (const char of text) each += char.toLowerCase();
  return each;
}

function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && SPACE_CHARACTER.test(text.charAt(end - 1))) end--;
  return text.slice(0, end);
}

function stripMarks(text: string): string {
  return text.normalize('NFD').replace(NONSPACING_MARK, '');
}

function bertNormalizer(config: Extract<NormalizerConfig, { type: 'BertNormalizer' }>): Normalize {
  const stripsAccents = config.strip_accents ?? config.lowercase;
  return (text) => {
    let result = text;
    if (config.clean_text) result = result.replace(BERT_DROPPED, '').replace(WHITE_SPACE, ' ');
    if (config.handle_chinese_chars) result = result.replace(BERT_CJK, ' $& ');
    if (stripsAccents) result = stripMarks(result);
    return config.lowercase ? lowerCase(result) : result;
  };
}

function createStep(config: NormalizerConfig): NormalizeStep {
  switch (config.type) {
    case 'BertNormalizer':
      return bertNormalizer(config);
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return (text) => text.normalize(config.type);
    case 'Lowercase':
      return lowerCase;
    case 'StripAccents':
      return (text) => text.replace(MARK, '');
    case 'Strip':
      return (text) => {
        const left = config.strip_left ? text.replace(LEADING_SPACE, '') : text;
        return config.strip_right ? trimEnd(left) : left;
      };
    case 'Replace': {
      const pattern = compilePattern(config.pattern);
      return (text, growth) => growth.replace(text, pattern, config.content);
    }
    case 'Prepend':
      return (text) => (text === '' ? text : config.prepend + text);
  }
}

/**
 * Returns the function that applies all normalizers in order. It throws `format` when the text grows too long, or an
 * unknown pattern runs too long.
 * @throws `format` on a pattern that cannot be compiled
 */
export function createNormalize(configs: readonly NormalizerConfig[]): Normalize {
  const steps = configs.map(createStep);
  const normalize: Normalize = (text) => {
    const growth = new GrowthLimit('normalizer', text.length);
    let result = text;
    for (const step of steps) {
      result = step(result, growth);
      growth.check(result.length);
    }
    return result;
  };
  if (haveKnownPatterns(configs)) return normalize;
  return (text) => runPatterns('normalizer', text.length, () => normalize(text));
}
