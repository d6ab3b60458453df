import { expect, it } from 'vitest';
import { createScriptedTarget } from '../../src/targets/scripted-target.ts';
import { DECODE, describeTargetContract } from './target-contract.ts';

const RULES = [
  { contains: 'tell me', respond: ['One.', 'Two.', 'Three.', 'Four.'] },
  { contains: 'tell', respond: ['never: the rule above holds first'] },
];
const OTHERWISE = ['I cannot help with that.', 'No.'];

function create(seed = 5, rules: Parameters<typeof createScriptedTarget>[0]['rules'] = RULES) {
  return createScriptedTarget({ rules, otherwise: OTHERWISE, seed });
}

async function textsOf(attack: string, responses = 200, target = create()): Promise<string[]> {
  const [answers = []] = await target.respond([{ attack, streamName: ['x'] }], responses, DECODE);
  return answers.map(({ text }) => text);
}

describeTargetContract('scripted target', async () => create());

it('answers by the first rule that holds, case counted, and otherwise by the rest', async () => {
  expect(new Set(await textsOf('please tell me'))).toEqual(new Set(RULES[0]?.respond));
  expect(new Set(await textsOf('Tell me'))).toEqual(new Set(OTHERWISE));
  expect(new Set(await textsOf('tell him'))).toEqual(new Set(RULES[1]?.respond));
});

it('draws each answer as often as it is written', async () => {
  const target = create(5, [{ contains: '', respond: ['rare', 'common', 'common', 'common'] }]);
  const texts = await textsOf('a', 2000, target);
  const share = texts.filter((text) => text === 'rare').length / texts.length;
  expect(Math.abs(share - 0.25)).toBeLessThan(0.03); // 3 standard deviations of 2,000 draws
});

it('draws other answers with another seed', async () => {
  expect(await textsOf('tell me', 50, create(6))).not.toEqual(await textsOf('tell me', 50, create(7)));
});

it('cuts at the token limit by words, and counts the end as a token', async () => {
  const target = create(5, [
    { contains: 'long', respond: ['  one two\nthree four '] },
    { contains: 'short', respond: ['one two\n'] },
    { contains: 'exact', respond: ['one two three'] },
  ]);
  const requests = ['long', 'short', 'exact'].map((attack) => ({ attack, streamName: [attack] }));
  const [long, short, exact] = await target.respond(requests, 1, { ...DECODE, maxNewTokens: 3 });
  expect(long).toEqual([{ text: '  one two\nthree', tokens: 3, truncated: true }]);
  expect(short).toEqual([{ text: 'one two\n', tokens: 3, truncated: false }]);
  expect(exact).toEqual([{ text: 'one two three', tokens: 3, truncated: true }]);
});

it('can play a hostile target: nothing, a megabyte, control characters', async () => {
  const answers = ['', 'x'.repeat(1_000_000), ' '.repeat(1_000_000), '\u0000\u001b[31m\u202e\ud800'];
  for (const answer of answers) {
    const target = create(5, [{ contains: 'a', respond: [answer] }]);
    expect(await textsOf('a', 1, target)).toEqual([answer]);
  }
});

it('refuses a rule without answers', () => {
  expect(() => create(5, [{ contains: 'a', respond: [] }])).toThrow(/no answers/);
});
