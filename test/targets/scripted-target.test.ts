import { expect, it } from 'vitest';
import { createScriptedTarget } from '../../src/targets/scripted-target.ts';
import { asking, DECODE, describeSeededTargetContract, describeTargetContract, textsOf } from './target-contract.ts';

const RULES = [
  { contains: 'tell me', respond: ['One.', 'Two.', 'Three.', 'Four.'] },
  { contains: 'tell', respond: ['never: the rule above holds first'] },
];
const OTHERWISE = ['I cannot help with that.', 'No.'];

function create(seed = 5, rules: Parameters<typeof createScriptedTarget>[0]['rules'] = RULES) {
  return createScriptedTarget({ rules, otherwise: OTHERWISE, seed });
}

async function drawTexts(attack: string, responses = 200, target = create()): Promise<string[]> {
  const [answers] = await target.ask([{ attack, streamName: ['x'] }], asking(responses));
  return textsOf(answers);
}

describeTargetContract('scripted target', async () => create());
describeSeededTargetContract('scripted target', async () => create());

it('answers by the first rule that holds, case counted, and otherwise by the rest', async () => {
  expect(new Set(await drawTexts('please tell me'))).toEqual(new Set(RULES[0]?.respond));
  expect(new Set(await drawTexts('Tell me'))).toEqual(new Set(OTHERWISE));
  expect(new Set(await drawTexts('tell him'))).toEqual(new Set(RULES[1]?.respond));
});

it('draws each answer as often as it is written', async () => {
  const target = create(5, [{ contains: '', respond: ['rare', 'common', 'common', 'common'] }]);
  const texts = await drawTexts('a', 2000, target);
  const share = texts.filter((text) => text === 'rare').length / texts.length;
  expect(Math.abs(share - 0.25)).toBeLessThan(0.03); // 3 standard deviations of 2,000 draws
});

it('draws other answers with another seed', async () => {
  expect(await drawTexts('tell me', 50, create(6))).not.toEqual(await drawTexts('tell me', 50, create(7)));
});

it('cuts at the token limit by words, and counts the end as a token', async () => {
  const target = create(5, [
    { contains: 'long', respond: ['  one two\nthree four '] },
    { contains: 'short', respond: ['one two\n'] },
    { contains: 'exact', respond: ['one two three'] },
  ]);
  const requests = ['long', 'short', 'exact'].map((attack) => ({ attack, streamName: [attack] }));
  const decode = { ...DECODE, maxNewTokens: 3 };
  const results = await target.ask(requests, asking(1, { decode }));
  const answer = (text: string, truncated: boolean) => ({
    kind: 'text',
    text,
    truncated,
    usage: { calls: 1, tokens: 3 },
  });
  expect(results).toEqual([
    [answer('  one two\nthree', true)],
    [answer('one two\n', false)],
    [answer('one two three', true)],
  ]);
});

it('can play a hostile target: nothing, a megabyte, control characters', async () => {
  const answers = ['', 'x'.repeat(1_000_000), ' '.repeat(1_000_000), '\u0000\u001b[31m\u202e\ud800'];
  for (const answer of answers) {
    const target = create(5, [{ contains: 'a', respond: [answer] }]);
    expect(await drawTexts('a', 1, target)).toEqual([answer]);
  }
});

it('refuses a rule without answers', () => {
  expect(() => create(5, [{ contains: 'a', respond: [] }])).toThrow(/no answers/);
});
