import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { RandomStream } from '../../../src/base/random.ts';
import { loadTokenizerFromFolder } from '../../../src/models/tokenizer/load-tokenizer.ts';
import { type FuzzInput, type FuzzTarget, pick } from '../fuzz-target.ts';
import { mutateJson } from '../json-mutation.ts';
import { anyPattern, anyText } from '../regex-grammar.ts';

/** Tokens that some decoder treats apart: bytes, continued pieces, Metaspace, GPT-2's byte characters. */
const TOKENS: readonly string[] = [
  '[UNK]',
  'a',
  'b',
  'aa',
  ' ',
  '1',
  '▁',
  '▁a',
  '##b',
  'Ġ',
  'Ċ',
  '<0x41>',
  '<0xFF>',
  '<0xE6>',
  "'",
  " n't",
  'é',
  '日',
  '😀',
  '\u0000',
  'x'.repeat(500),
];

const MODEL = {
  type: 'BPE',
  unk_token: '[UNK]',
  vocab: Object.fromEntries(TOKENS.map((token, id) => [token, id])),
  merges: [['a', 'a']],
};

/** Texts that replacements put in: short, empty, growing. */
const CONTENTS: readonly string[] = [
  '',
  'a',
  'b',
  ' ',
  'aa',
  '▁',
  '$&',
  '$1',
  'a'.repeat(64),
  'a'.repeat(512),
  '\ufdfa',
];

const anyReplace = (stream: RandomStream): object => ({
  type: 'Replace',
  pattern:
    stream.nextInt(3) === 0 ? { String: pick(stream, ['a', ' ', '▁', 'aa', '']) } : { Regex: anyPattern(stream) },
  content: pick(stream, CONTENTS),
});

function anyNormalizer(stream: RandomStream, depth = 0): object {
  const flag = () => pick(stream, [true, false, null]);
  switch (stream.nextInt(depth < 3 ? 9 : 6)) {
    case 0:
      return { type: pick(stream, ['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'StripAccents', 'Nmt', 'Precompiled']) };
    case 1:
      return { type: 'BertNormalizer', clean_text: flag(), handle_chinese_chars: flag(), lowercase: flag() };
    case 2:
      return { type: 'Strip', strip_left: flag(), strip_right: flag() };
    case 3:
      return { type: 'Prepend', prepend: pick(stream, CONTENTS) };
    case 4:
    case 5:
      return anyReplace(stream);
    default:
      return { type: 'Sequence', normalizers: listOf(stream, () => anyNormalizer(stream, depth + 1)) };
  }
}

function anyDecoder(stream: RandomStream, depth = 0): object {
  switch (stream.nextInt(depth < 3 ? 9 : 6)) {
    case 0:
      return { type: pick(stream, ['ByteLevel', 'ByteFallback', 'Fuse', 'CTC', 'BPEDecoder']) };
    case 1:
      return { type: 'WordPiece', prefix: pick(stream, CONTENTS), cleanup: pick(stream, [true, false, null]) };
    case 2:
      return { type: 'Metaspace', replacement: pick(stream, ['▁', 'a', '😀', 'aa']), add_prefix_space: true };
    case 3:
      return {
        type: 'Strip',
        content: pick(stream, [' ', 'a', 'x', '']),
        start: stream.nextInt(18),
        stop: stream.nextInt(4),
      };
    case 4:
    case 5:
      return anyReplace(stream);
    default:
      return { type: 'Sequence', decoders: listOf(stream, () => anyDecoder(stream, depth + 1)) };
  }
}

/** Mostly a few items; now and then more than a reader allows. */
function listOf(stream: RandomStream, make: () => object): object[] {
  const length = stream.nextInt(100) === 0 ? 70 : 1 + stream.nextInt(4);
  return Array.from({ length }, make);
}

const anySplit = (stream: RandomStream): object => ({
  type: 'Split',
  pattern: { Regex: anyPattern(stream) },
  behavior: pick(stream, ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous']),
  invert: stream.nextInt(4) === 0,
});

/** A target for one part: the file is read, a text is encoded, and its ids and all tokens are decoded. */
function createPartTarget(name: string, makePart: (stream: RandomStream) => object): FuzzTarget {
  return {
    name,
    codes: ['format'],
    baseBytes: 16 * 1024 * 1024,
    make: (stream): FuzzInput => {
      const whole = JSON.stringify({ added_tokens: [], model: MODEL, ...makePart(stream) });
      const tokenizer = stream.nextInt(8) === 0 ? mutateJson(whole, stream) : whole;
      return { bytes: Buffer.from(JSON.stringify({ tokenizer, text: anyText(stream) })), variant: 0 };
    },
    parse: async ({ bytes }, folder) => {
      const { tokenizer: json, text } = JSON.parse(bytes.toString('utf8')) as { tokenizer: string; text: string };
      writeFileSync(path.join(folder, 'tokenizer.json'), json);
      const { tokenizer } = await loadTokenizerFromFolder(folder);
      const ids = tokenizer.encode(text, { addSpecial: true });
      tokenizer.decode([...ids, ...TOKENS.keys()].slice(0, 4_096));
    },
  };
}

/** Patterns of the pre-tokenizer, over a grammar of regular expressions. */
export function createPatternTarget(): FuzzTarget {
  return createPartTarget('pattern', (stream) => ({ pre_tokenizer: anySplit(stream) }));
}

/** Trees of normalizers. */
export function createNormalizerTarget(): FuzzTarget {
  return createPartTarget('normalizer', (stream) => ({ normalizer: anyNormalizer(stream) }));
}

/** Trees of decoders. */
export function createDecoderTarget(): FuzzTarget {
  return createPartTarget('decoder', (stream) => ({ decoder: anyDecoder(stream) }));
}
