import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findAnswer, findTokens, shapesOfError } from '../../src/targets/endpoint-shapes.ts';
import { parseEventStream } from '../../src/targets/event-stream.ts';
import { parseJsonPath } from '../../src/wire/json-path.ts';

const PROMPT = 'Say hello.';

describe('the answer in a document', () => {
  const CASES: [string, unknown, string | undefined][] = [
    ['the usual key, not the request that is sent back', { prompt: PROMPT, reply: 'Hello.' }, '$.reply'],
    ['a sentence under an unknown key', { id: 'x1', bot_said: 'Hello to you.' }, '$.bot_said'],
    ['the content of a message, not its role', [{ role: 'assistant', content: 'Hi' }], '$[0].content'],
    ['of several usual keys the surest', { text: 'a draft of it', answer: 'Hi' }, '$.answer'],
    ['a key with a space', { 'the reply': 'Hello to you.' }, '$["the reply"]'],
    ['none in an error', { error: 'a field is missing', code: 'E 7', detail: 'see the docs' }, undefined],
    ['none in an echo', { received: PROMPT }, undefined],
    ['none in numbers and flags', { ok: true, n: 3 }, undefined],
  ];
  it.each(CASES)('is %s', (_name, document, path) => {
    expect(findAnswer(document, PROMPT)?.path).toBe(path);
  });

  it('is where its path says, in any document', () => {
    const key = fc.oneof(fc.constantFrom('a', '__proto__', 'a"b', "it's", 'a\\b', '\n', '\ud800', 'ä'), fc.string());
    const { document } = fc.letrec((tie) => ({
      document: fc.oneof(
        { maxDepth: 4 },
        fc.string({ minLength: 1 }),
        fc.array(tie('document'), { maxLength: 3 }),
        fc.dictionary(key, tie('document'), { maxKeys: 3 }),
      ),
    }));
    let found = 0;
    fc.assert(
      fc.property(document, (value) => {
        // As it arrives: a parsed text, in which __proto__ is a key like any other.
        const parsed: unknown = JSON.parse(JSON.stringify(value));
        const answer = findAnswer(parsed, PROMPT);
        if (answer === undefined) return;
        found++;
        expect(parseJsonPath(answer.path as string, 'answer').first(parsed)).toBe(answer.text);
      }),
      { numRuns: 1000 },
    );
    expect(found).toBeGreaterThan(50);
  });

  it('has its tokens where they are counted', () => {
    expect(findTokens({ usage: { prompt_tokens: 3, completion_tokens: 5 } })).toBe('$.usage.completion_tokens');
    expect(findTokens({ tokens: 'many' })).toBeUndefined();
  });
});

describe('the shapes that an error asks for', () => {
  const ATTACK = '{{attack}}';
  it('are the fields that it names', () => {
    expect(shapesOfError('missing field "prompt"')).toEqual([{ prompt: ATTACK }]);
    expect(shapesOfError('{"message":"bad request"}')).toEqual([]);
    expect(shapesOfError('<p>messages is required</p>')).toEqual([{ messages: [{ role: 'user', content: ATTACK }] }]);
    const detail = [{ loc: ['body', 'chat_id'] }, { loc: ['body', 'question'] }, { loc: ['query', 'page'] }];
    expect(shapesOfError(JSON.stringify({ detail }))).toEqual([{ chat_id: '{{id}}', question: ATTACK }]);
  });

  it('always hold the attack, whatever an app says', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        for (const shape of shapesOfError(text)) expect(JSON.stringify(shape)).toContain(ATTACK);
      }),
    );
  });
});

describe('a stream of events', () => {
  it('gives back the data that a server wrote, however its lines end', () => {
    const data = fc.string({ unit: 'grapheme' }).filter((text) => !/[\r\n]/.test(text) && text.trim() !== '[DONE]');
    const lines = fc.array(data, { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(fc.array(lines), fc.constantFrom('\n', '\r\n', '\r'), (events, end) => {
        const body = events.map((each) => each.map((line) => `data: ${line}${end}`).join('') + end).join('');
        const expected = events.map((each) => each.join('\n')).filter((each) => each.trim() !== '[DONE]');
        expect(parseEventStream(body).map((event) => event.data)).toEqual(expected);
      }),
    );
  });

  it('has names, and no comments, ids or events without data', () => {
    const body = '\ufeff:hi\n\nid: 3\nretry: 9\n\nevent: error\ndata:x\n\ndata\n\ndata: [DONE]\n\ndata: last';
    expect(parseEventStream(body)).toEqual([
      { name: 'error', data: 'x' },
      { name: 'message', data: '' },
      { name: 'message', data: 'last' },
    ]);
  });
});
