import { describe, expect, it } from 'vitest';
import { loadTokenizerFromFolder } from '../../src/models/tokenizer/load-tokenizer.ts';
import { encodePlainPrompt } from '../../src/models/tokenizer/plain-prompt.ts';
import type { Tokenizer } from '../../src/models/tokenizer/tokenizer.ts';
import { testPath } from '../support/golden-file.ts';

async function tokenizerOf(...folder: string[]): Promise<Tokenizer> {
  return (await loadTokenizerFromFolder(testPath('fixtures', ...folder))).tokenizer;
}
const parsed = { parseSpecial: true };
const asText = { parseSpecial: false };

describe('a plain prompt', () => {
  it.each(['llama2-like', 'llama3-like'])('begins with one BOS where the tokenizer adds one: %s', async (name) => {
    const tokenizer = await tokenizerOf('tokenizers', name);
    const { bosId } = tokenizer;
    if (bosId === undefined) throw new TypeError(`${name} has a BOS`);
    const bos = tokenizer.decode([bosId], { skipSpecial: false });
    expect(encodePlainPrompt(tokenizer, 'tell me', asText)).toEqual([bosId, ...tokenizer.encode('tell me')]);
    expect(encodePlainPrompt(tokenizer, '', asText)).toEqual([bosId]);
    // A BOS that the text brings is not doubled, nor believed where the text is nobody's.
    expect(encodePlainPrompt(tokenizer, `${bos}tell`, parsed).filter((id) => id === bosId)).toEqual([bosId]);
    const untrusted = encodePlainPrompt(tokenizer, `${bos}tell`, asText);
    expect(untrusted.filter((id) => id === bosId)).toEqual([bosId]);
    expect(untrusted.length).toBeGreaterThan(encodePlainPrompt(tokenizer, `${bos}tell`, parsed).length);
  });

  it('is not closed by a tokenizer that closes texts', async () => {
    const tokenizer = await tokenizerOf('tokenizers', 'roberta-like');
    const closed = tokenizer.encode('tell me', { addSpecial: true });
    expect(tokenizer.endIds).toContain(closed.at(-1));
    expect(encodePlainPrompt(tokenizer, 'tell me', asText)).toEqual(closed.slice(0, -1));
  });

  it('has no BOS where the tokenizer adds none, but a start for an empty text', async () => {
    const tokenizer = await tokenizerOf('models', 'gpt2');
    expect(encodePlainPrompt(tokenizer, 'tell me', asText)).toEqual(tokenizer.encode('tell me'));
    expect(encodePlainPrompt(tokenizer, '', asText)).toEqual([tokenizer.bosId ?? tokenizer.endIds[0]]);
  });
});
