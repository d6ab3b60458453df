import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { loadTokenizerFromFolder } from '../../../src/models/tokenizer/load-tokenizer.ts';
import { mutateBytes } from '../byte-mutation.ts';
import { type FuzzInput, type FuzzTarget, pick } from '../fuzz-target.ts';
import { mutateJson } from '../json-mutation.ts';

/** Expressions that cost much, or that no engine takes. */
const PATTERNS: readonly string[] = [
  '(a+)+$',
  '(a|a)*$',
  '(a|aa)+$',
  '(a?){40}a{40}',
  'a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?b',
  '(?:a{1,9}){1,40}b',
  'a*a*a*a*a*a*a*a*a*a*b',
  '(?=(a*)*b)',
  '(([a-z])+.)+[A-Z]([a-z])+$',
  '\\p{L}{2147483648}',
  '(',
  '[',
  '\\',
  '(?<n>a)\\k<n>*$',
  '(?i:A+)++',
  '\\p{Nonsense}',
  '[[:alpha:]&&[^a]]*',
];

/** A text on which backtracking is worst. */
const TEXT = `${'a'.repeat(48)}! The cat's 12345 hats,\r\n  "été" 日本 😀 ${'ab'.repeat(24)}\u0000`;

export function createTokenizerTarget(root: string): FuzzTarget {
  const names = [
    'gpt2-like',
    'llama2-like',
    'llama3-like',
    'pieces-like',
    'qwen2-like',
    'roberta-like',
    'unigram-like',
  ];
  const read = (name: string, file: string): string =>
    readFileSync(path.join(root, 'test/fixtures/tokenizers', name, file), 'utf8');
  const corpus = names.map((name) => ({
    tokenizer: read(name, 'tokenizer.json'),
    config: read(name, 'tokenizer_config.json'),
  }));
  return {
    name: 'tokenizer.json',
    codes: ['format', 'model'],
    baseBytes: 8 * 1024 * 1024,
    make: (stream): FuzzInput => {
      const variant = stream.nextInt(corpus.length);
      const { tokenizer } = pick(stream, [corpus[variant] as (typeof corpus)[number]]);
      const kind = stream.nextInt(8);
      if (kind === 0) {
        const pattern = JSON.stringify(pick(stream, PATTERNS));
        const replaced = tokenizer.replace(/"pre_tokenizer":\s*(null|\{)/, (_all, open: string) =>
          open === '{'
            ? `"pre_tokenizer": {"type":"Split","pattern":{"Regex":${pattern}},"behavior":"Isolated","invert":false},"was": {`
            : `"pre_tokenizer": {"type":"Split","pattern":{"Regex":${pattern}},"behavior":"Isolated","invert":false}`,
        );
        return { bytes: Buffer.from(replaced), variant };
      }
      if (kind < 6) return { bytes: Buffer.from(mutateJson(tokenizer, stream)), variant };
      return { bytes: mutateBytes(Buffer.from(tokenizer), stream), variant };
    },
    parse: async ({ bytes, variant }, folder) => {
      writeFileSync(path.join(folder, 'tokenizer.json'), bytes);
      writeFileSync(path.join(folder, 'tokenizer_config.json'), corpus[variant]?.config ?? '{}');
      rmSync(path.join(folder, 'chat_template.jinja'), { force: true });
      const { tokenizer } = await loadTokenizerFromFolder(folder);
      tokenizer.decode(tokenizer.encode(TEXT, { addSpecial: true }));
    },
  };
}
