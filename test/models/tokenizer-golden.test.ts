import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { readGguf } from '../../src/models/formats/gguf.ts';
import type { ChatMessage } from '../../src/models/tokenizer/chat-template.ts';
import {
  type LoadedTokenizer,
  loadTokenizerFromFolder,
  tokenizerFromGguf,
} from '../../src/models/tokenizer/load-tokenizer.ts';
import { renderChatIds } from '../../src/models/tokenizer/prompt-ids.ts';
import { modelFixture } from '../support/model-fixture.ts';

interface GoldenCase {
  readonly text: string;
  readonly times: number;
  readonly ids?: readonly number[];
  readonly count?: number;
  readonly sha256?: string;
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly decodedSha256: string;
  readonly decodedWithSpecialSha256: string;
}

interface Golden {
  readonly vocabSize: number;
  readonly cases: readonly GoldenCase[];
  readonly decodes: readonly { readonly ids: readonly number[]; readonly text: string }[];
  /** Runs of code points, with the start of the sum over the ids around each. */
  readonly codePoints?: readonly (readonly [first: number, last: number, sha256: string])[];
  readonly chats?: readonly {
    readonly messages: readonly ChatMessage[];
    readonly text: string;
    readonly ids: readonly number[];
  }[];
}

function readGolden(name: string): Golden {
  return JSON.parse(readFileSync(new URL(`../golden/models/tokenizer-${name}.json`, import.meta.url), 'utf8'));
}

function sha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}

function fixture(name: string): Promise<LoadedTokenizer> {
  return loadTokenizerFromFolder(new URL(`../fixtures/tokenizers/${name}`, import.meta.url).pathname);
}

async function loadSmolLm2(): Promise<LoadedTokenizer> {
  return tokenizerFromGguf((await readGguf(await modelFixture('smollm2-135m-instruct'))).metadata);
}

async function loadMiniLm(): Promise<LoadedTokenizer> {
  return loadTokenizerFromFolder(await modelFixture('minilm'));
}

const TOKENIZERS: readonly (readonly [string, () => Promise<LoadedTokenizer>])[] = [
  ['smollm2', loadSmolLm2],
  ['minilm', loadMiniLm],
  ...['gpt2-like', 'llama3-like', 'qwen2-like', 'roberta-like', 'llama2-like', 'pieces-like', 'unigram-like'].map(
    (name) => [name, () => fixture(name)] as const,
  ),
];

describe.each(TOKENIZERS)('tokenizer %s equals the original', (name, open) => {
  const golden = readGolden(name);
  let loaded: Promise<LoadedTokenizer> | undefined;
  const load = () => {
    loaded ??= open();
    return loaded;
  };

  test('in its size', async () => {
    expect((await load()).tokenizer.vocabSize).toBe(golden.vocabSize);
  });

  test.each(golden.cases.map((item, index) => [index, item] as const))('in hard text %i', async (_index, item) => {
    const { tokenizer } = await load();
    const text = item.text.repeat(item.times);
    const ids = tokenizer.encode(text);
    if (item.ids !== undefined) expect(ids).toEqual(item.ids);
    else
      expect({ count: ids.length, sha256: sha256(ids.join(',')) }).toEqual({ count: item.count, sha256: item.sha256 });
    expect(sha256(tokenizer.decode(ids))).toBe(item.decodedSha256);
    expect(sha256(tokenizer.decode(ids, { skipSpecial: false }))).toBe(item.decodedWithSpecialSha256);
    const isBosWritten = tokenizer.bosId !== undefined && ids[0] === tokenizer.bosId;
    expect(tokenizer.encode(text, { addSpecial: true })).toEqual([
      ...(isBosWritten ? [] : item.before),
      ...ids,
      ...item.after,
    ]);
  });

  test('in decoding ids at random, broken UTF-8 among them', async () => {
    const { tokenizer } = await load();
    for (const { ids, text } of golden.decodes) expect([ids, tokenizer.decode(ids)]).toEqual([ids, text]);
  });

  const { chats, codePoints } = golden;
  if (chats !== undefined) {
    test('in chat prompts', async () => {
      const { tokenizer, chatTemplate } = await load();
      if (chatTemplate === undefined) throw new Error('no chat template');
      for (const chat of chats) {
        expect(chatTemplate.render(chat.messages)).toBe(chat.text);
        expect(tokenizer.encode(chat.text)).toEqual(chat.ids);
        expect(renderChatIds(chatTemplate, tokenizer, chat.messages)).toEqual(chat.ids);
      }
    });
  }

  if (codePoints !== undefined) {
    test('around every code point of Unicode 3.2', async () => {
      const { tokenizer } = await load();
      const different = codePoints.filter(([first, last, sum]) => {
        const hash = createHash('sha256');
        for (let code = first; code <= last; code++) {
          const char = String.fromCodePoint(code);
          hash.update(`${tokenizer.encode(`it${char}th  ${char} .${char}`).join(',')};`);
        }
        return hash.digest('hex').slice(0, 16) !== sum;
      });
      expect(different).toEqual([]);
    });
  }
});
