import { FloodgateError } from '../../base/errors.ts';
import { haveKnownPatterns } from './known-patterns.ts';
import { GrowthLimit, runPatterns } from './tokenizer-growth.ts';
import type { DecoderConfig } from './tokenizer-json.ts';
import { compilePattern } from './tokenizer-pattern.ts';
import { BYTE_CHARACTERS, prependSchemeOf } from './tokenizer-pre-tokenizers.ts';

/** Rewrites the tokens of a text. The tokens that the last step returns are joined. */
type DecodeStep = (tokens: readonly string[], growth: GrowthLimit) => readonly string[];
export type DecodeTokens = (tokens: readonly string[]) => string;

const BYTE_OF_CHARACTER: ReadonlyMap<string, number> = new Map(BYTE_CHARACTERS.map((char, byte) => [char, byte]));
const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

/**
 * Returns the bytes of a token. A token outside the byte alphabet (an added token with a space, say) gives its own
 * UTF-8.
 */
function bytesOfToken(token: string): Iterable<number> {
  const bytes: number[] = [];
  for (const char of token) {
    const byte = BYTE_OF_CHARACTER.get(char);
    if (byte === undefined) return Buffer.from(token, 'utf8');
    bytes.push(byte);
  }
  return bytes;
}

/** Joins byte-level tokens. Each maximal invalid part of the UTF-8 becomes one U+FFFD. */
const byteLevel: DecodeStep = (tokens) => {
  const bytes: number[] = [];
  for (const token of tokens) for (const byte of bytesOfToken(token)) bytes.push(byte);
  return [new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes))];
};

function decodeByteRun(bytes: readonly number[]): string {
  try {
    return new TextDecoder('utf-8', { ignoreBOM: true, fatal: true }).decode(Uint8Array.from(bytes));
  } catch {
    return '\ufffd'.repeat(bytes.length); // as the original: one U+FFFD a byte when any part of a run is invalid
  }
}

const byteFallback: DecodeStep = (tokens) => {
  const texts: string[] = [];
  let run: number[] = [];
  const flush = () => {
    if (run.length > 0) texts.push(decodeByteRun(run));
    run = [];
  };
  for (const token of tokens) {
    const byte = BYTE_TOKEN.exec(token)?.[1];
    if (byte !== undefined) {
      run.push(Number.parseInt(byte, 16));
    } else {
      flush();
      texts.push(token);
    }
  }
  flush();
  return texts;
};

const CLEANED: readonly (readonly [string, string])[] = [
  [' .', '.'],
  [' ?', '?'],
  [' !', '!'],
  [' ,', ','],
  [" ' ", "'"],
  [" n't", "n't"],
  [" 'm", "'m"],
  [' do not', " don't"],
  [" 's", "'s"],
  [" 've", "'ve"],
  [" 're", "'re"],
];

/** Returns `text` without the spaces that splitting added before punctuation and English contractions. */
export function cleanUpSpaces(text: string): string {
  return CLEANED.reduce((result, [from, to]) => result.replaceAll(from, to), text);
}

function wordPiece(config: Extract<DecoderConfig, { type: 'WordPiece' }>): DecodeStep {
  return (tokens) =>
    tokens.map((token, index) => {
      const isContinued = token.startsWith(config.prefix);
      const text = index === 0 ? token : isContinued ? token.slice(config.prefix.length) : ` ${token}`;
      return config.cleanup ? cleanUpSpaces(text) : text;
    });
}

/** Cuts up to `start` leading and `stop` trailing characters that equal `content` from each token. */
function strip(config: Extract<DecoderConfig, { type: 'Strip' }>): DecodeStep {
  return (tokens) =>
    tokens.map((token) => {
      let text = token;
      for (let i = 0; i < config.start && text.startsWith(config.content); i++)
        text = text.slice(config.content.length);
      for (let i = 0; i < config.stop && text.endsWith(config.content); i++) {
        text = text.slice(0, -config.content.length);
      }
      return text;
    });
}

function createStep(config: DecoderConfig): DecodeStep {
  switch (config.type) {
    case 'ByteLevel':
      return byteLevel;
    case 'ByteFallback':
      return byteFallback;
    case 'Fuse':
      return (tokens) => [tokens.join('')];
    case 'WordPiece':
      return wordPiece(config);
    case 'Metaspace': {
      const first = prependSchemeOf(config) === 'never' ? ' ' : '';
      return (tokens) => tokens.map((token, index) => token.replaceAll(config.replacement, index === 0 ? first : ' '));
    }
    case 'Replace': {
      const pattern = compilePattern(config.pattern);
      return (tokens, growth) => {
        let length = 0;
        return tokens.map((token) => {
          const text = growth.replace(token, pattern, config.content, length);
          length += text.length;
          return text;
        });
      };
    }
    case 'Strip':
      return strip(config);
  }
}

/** Tokens of megabytes, of which a few hundred make a text that no engine holds. */
const MAX_DECODED_LENGTH = 16_777_216;

function joinedLength(tokens: readonly string[], gap: number): number {
  return tokens.reduce((sum, token) => sum + token.length + gap, 0);
}

/**
 * Returns the function that joins a list of tokens into text. Without decoders, spaces join the tokens. It throws
 * `format` when the text is or grows too long, or an unknown pattern runs too long.
 * @throws `format` on a pattern that cannot be compiled
 */
export function createDecodeTokens(configs: readonly DecoderConfig[]): DecodeTokens {
  const steps = configs.map(createStep);
  const isKnown = haveKnownPatterns(configs);
  return (tokens) => {
    const length = joinedLength(tokens, 1);
    if (length > MAX_DECODED_LENGTH) {
      throw new FloodgateError(
        'format',
        `tokenizer.json: the decoder got ${length} characters, expected at most ${MAX_DECODED_LENGTH}`,
      );
    }
    if (steps.length === 0) return tokens.join(' ');
    const growth = new GrowthLimit('decoder', length);
    const decode = () => {
      let result = tokens;
      for (const step of steps) {
        result = step(result, growth);
        growth.check(joinedLength(result, 0));
      }
      return result.join('');
    };
    return isKnown ? decode() : runPatterns('decoder', length, decode);
  };
}
