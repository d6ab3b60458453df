import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ChatMessage, createChatTemplate } from '../../src/models/tokenizer/chat-template.ts';
import { loadTokenizerFromFolder } from '../../src/models/tokenizer/load-tokenizer.ts';
import { encodePlainPrompt, renderChatIds } from '../../src/models/tokenizer/prompt-ids.ts';
import { createTokenizer, type Tokenizer } from '../../src/models/tokenizer/tokenizer.ts';
import { readTokenizerDefinition } from '../../src/models/tokenizer/tokenizer-json.ts';
import { testPath } from '../support/golden-file.ts';

async function tokenizerOf(...folder: string[]): Promise<Tokenizer> {
  return (await loadTokenizerFromFolder(testPath('fixtures', ...folder))).tokenizer;
}
const parsed = { parseSpecial: true };
const asText = { parseSpecial: false };

describe('a plain prompt', () => {
  test.each(['llama2-like', 'llama3-like'])('begins with one BOS where the tokenizer adds one: %s', async (name) => {
    const tokenizer = await tokenizerOf('tokenizers', name);
    const { bosId } = tokenizer;
    if (bosId === undefined) throw new TypeError(`${name} has a BOS`);
    const bos = tokenizer.decode([bosId], { skipSpecial: false });
    expect(encodePlainPrompt(tokenizer, 'tell me', asText)).toEqual([bosId, ...tokenizer.encode('tell me')]);
    expect(encodePlainPrompt(tokenizer, '', asText)).toEqual([bosId]);
    // A BOS in the text is not doubled, and in an untrusted text it is not parsed.
    expect(encodePlainPrompt(tokenizer, `${bos}tell`, parsed).filter((id) => id === bosId)).toEqual([bosId]);
    const untrusted = encodePlainPrompt(tokenizer, `${bos}tell`, asText);
    expect(untrusted.filter((id) => id === bosId)).toEqual([bosId]);
    expect(untrusted.length).toBeGreaterThan(encodePlainPrompt(tokenizer, `${bos}tell`, parsed).length);
  });

  test('is not closed by a tokenizer that closes texts', async () => {
    const tokenizer = await tokenizerOf('tokenizers', 'roberta-like');
    const closed = tokenizer.encode('tell me', { addSpecial: true });
    expect(tokenizer.endIds).toContain(closed.at(-1));
    expect(encodePlainPrompt(tokenizer, 'tell me', asText)).toEqual(closed.slice(0, -1));
  });

  test('has no BOS where the tokenizer adds none, but a start for an empty text', async () => {
    const tokenizer = await tokenizerOf('models', 'gpt2');
    expect(encodePlainPrompt(tokenizer, 'tell me', asText)).toEqual(tokenizer.encode('tell me'));
    expect(encodePlainPrompt(tokenizer, '', asText)).toEqual([tokenizer.bosId ?? tokenizer.endIds[0]]);
  });
});

async function chatFixture(name: string) {
  const path = new URL(`../fixtures/tokenizers/${name}`, import.meta.url).pathname;
  const { tokenizer, chatTemplate } = await loadTokenizerFromFolder(path);
  if (chatTemplate === undefined) throw new Error(`${name} has no chat template`);
  return { tokenizer, chatTemplate };
}

const user = (content: string): ChatMessage[] => [{ role: 'user', content }];

/** Pieces out of which hostile messages are built: markers whole, cut, nested, and private-use characters. */
const PIECES = [
  '<|im_end|>',
  '<|im_start|>',
  '<|eot_id|>',
  '<|start_header_id|>',
  '<|im_',
  'end|>',
  '<',
  '|>',
  '\ue000',
  '\ue001',
  ' ',
  '\n',
  'system',
  'fox',
  '漢',
  '<tool_call>',
];

describe('chat prompt', () => {
  test.each(['qwen2-like', 'llama3-like'])('of %s lets no message write a control token', async (name) => {
    const { tokenizer, chatTemplate } = await chatFixture(name);
    const isSpecial = (id: number) => tokenizer.specialIds.includes(id);
    const expected = renderChatIds(chatTemplate, tokenizer, user('x')).filter(isSpecial);
    const message = fc.array(fc.constantFrom(...PIECES), { maxLength: 8 }).map((pieces) => pieces.join(''));
    fc.assert(
      fc.property(message, (content) => {
        const ids = renderChatIds(chatTemplate, tokenizer, user(content));
        expect(ids.filter(isSpecial)).toEqual(expected);
        expect(tokenizer.decode(ids, { skipSpecial: false })).toBe(chatTemplate.render(user(content)).normalize('NFC'));
      }),
      { numRuns: 300 },
    );
  });

  test('of messages without markers has the ids of the rendered text', async () => {
    const { tokenizer, chatTemplate } = await chatFixture('llama3-like');
    const text = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((content) => !/[<|]/.test(content));
    fc.assert(
      fc.property(text, (content) => {
        const ids = renderChatIds(chatTemplate, tokenizer, user(content));
        expect(ids).toEqual(tokenizer.encode(chatTemplate.render(user(content))));
        expect(ids.filter((id) => id === tokenizer.bosId)).toHaveLength(1);
      }),
    );
  });

  test('keeps a message from completing a marker with the text of the template', async () => {
    const { tokenizer } = await chatFixture('qwen2-like');
    const template = createChatTemplate("{{ messages[0]['content'] | trim }}end|>");
    const ids = renderChatIds(template, tokenizer, user('<|im_  '));
    expect(ids.some((id) => tokenizer.specialIds.includes(id))).toBe(false);
    expect(tokenizer.decode(ids)).toBe('<|im_end|>');
  });

  test('takes a message of 100 kB of opening brackets in good time', async () => {
    const { tokenizer, chatTemplate } = await chatFixture('qwen2-like');
    const start = performance.now();
    renderChatIds(chatTemplate, tokenizer, user('<'.repeat(100_000)));
    expect(performance.now() - start).toBeLessThan(20_000);
  });

  test('looks at a message once, however many control tokens there are', () => {
    const added_tokens = Array.from({ length: 50_000 }, (_, id) => ({
      id: id + 1,
      content: `<|${id}|>`,
      special: true,
    }));
    const model = { type: 'BPE', vocab: { '<': 0 }, merges: [] };
    const tokenizer = createTokenizer(readTokenizerDefinition({ model, added_tokens }), {
      bosId: undefined,
      padId: undefined,
      endIds: [1],
    });
    const template = createChatTemplate("{{ messages[0]['content'] }}");
    const start = performance.now();
    const ids = renderChatIds(template, tokenizer, user('<'.repeat(50_000)));
    expect(performance.now() - start).toBeLessThan(30_000); // each character with each token: 2.5 billion comparisons
    expect(ids).toHaveLength(50_000);
    expect(renderChatIds(template, tokenizer, user('<|7|>'))).not.toContain(8);
  });
});

describe('chat template', () => {
  const messages = user('hi');

  test('gets the tokens, and opens the answer unless told not to', () => {
    const source = '{{ bos_token }}{{ messages[0].content }}{% if add_generation_prompt %}>{% endif %}';
    const template = createChatTemplate(source, { bos_token: '<s>' });
    expect(template.render(messages)).toBe('<s>hi>');
    expect(template.render(messages, { addGenerationPrompt: false })).toBe('<s>hi');
  });

  test('is told the same day always', () => {
    expect(createChatTemplate("{{ strftime_now('%d %b %Y, 100%%') }}").render(messages)).toBe('26 Jul 2024, 100%');
  });

  test.each([
    ['refuses the messages', "{{ raise_exception('no system role') }}", /no system role/],
    ['loops for ever', '{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}', /steps/],
    ['asks for a list of billions', '{% for a in range(4000000000) %}{% endfor %}', /range\(\) of 4000000000/],
    ['asks for a list that never ends', '{% for a in range(0, 9, 0) %}{% endfor %}', /range\(\)/],
    ['calls what is not there', '{{ nothing.at.all() }}', /chat template: cannot be rendered/],
  ])('that %s gives a named error', (_name, source, message) => {
    expect(() => createChatTemplate(source).render(messages)).toThrow(message);
  });

  test('that does not parse gives a named error', () => {
    expect(() => createChatTemplate('{% for %}')).toThrow(/chat template: does not parse/);
    expect(() => createChatTemplate('x'.repeat(300_000))).toThrow(/too long, got 300000/);
  });
});
