import { expect, it } from 'vitest';
import type { TargetHost } from '../../../src/targets/target-kind.ts';
import { createRegionTarget, regionTargetKind } from '../../../src/worlds/language/region-target.ts';
import type { CentreMeter, Region } from '../../../src/worlds/language/regions.ts';
import {
  asking,
  DECODE,
  describeSeededTargetContract,
  describeTargetContract,
  textsOf,
} from '../../targets/target-contract.ts';

const REGIONS: readonly Region[] = [
  { text: 'near', phrase: 'near', prior: 0.01, leak: 0.8, radius: 0.9, nearRadius: 0.5 },
  { text: 'always', phrase: 'always', prior: 0.01, leak: 1, radius: 0.9, nearRadius: 0.5 },
];

/** Cosines are written in the text: `0.95 0.1`. */
const meter: CentreMeter = {
  cosinesOf: async (texts) => texts.map((text) => [0, 1].map((i) => Number.parseFloat(text.split(' ')[i] ?? '') || 0)),
  close: async () => undefined,
};

const create = (seed = 5) => createRegionTarget(REGIONS, { meter, seed });

describeTargetContract('region target', async () => create());
describeSeededTargetContract('region target', async () => create());

async function alarmRate(attack: string, responses = 4000): Promise<number> {
  const [answers] = await create().ask([{ attack, streamName: ['x'] }], asking(responses));
  return textsOf(answers).filter((text) => text === 'alarm').length / responses;
}

it('alarms with the leak of its region, seldom at a near miss, and never elsewhere', async () => {
  expect(Math.abs((await alarmRate('0.95 0')) - 0.8)).toBeLessThan(0.02); // 3 standard deviations of 4,000 draws
  expect(Math.abs((await alarmRate('0.6 0')) - 0.1)).toBeLessThan(0.015);
  expect(await alarmRate('0.4 0.4')).toBe(0);
  expect(await alarmRate('0.95 0.95')).toBe(1);
});

it('takes the likelier answer at temperature 0, and cuts at the token limit', async () => {
  const decode = { ...DECODE, temperature: 0, maxNewTokens: 1 };
  const asked = ['0.95 0', '0.6 0'].map((attack, i) => ({ attack, streamName: ['x', i] }));
  const answers = await create().ask(asked, { responses: 1, decode });
  expect(answers.map(textsOf)).toEqual([['alarm'], ['certainly']]);
  expect(answers[0]?.[0]).toMatchObject({ truncated: true, usage: { calls: 1, tokens: 1 } });
});

it('needs a language world', async () => {
  const config = { kind: 'regions', decode: DECODE, responses: 1 };
  for (const world of [undefined, { spec: { seed: 1 } }]) {
    const host = { world, seed: 1 } as unknown as TargetHost;
    await expect(regionTargetKind.plan(config, host)).rejects.toMatchObject({ code: 'usage' });
  }
});
