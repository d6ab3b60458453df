import { describe, expect, it } from 'vitest';
import { wilsonInterval } from '../../src/metrics/intervals.ts';
import type { PageContent } from '../../src/report/sections/page-content.ts';
import { answerSection } from '../../src/report/sections/section-answer.ts';
import { sureness } from '../../src/report/sections/section-limits.ts';
import { nextSection } from '../../src/report/sections/section-next.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';

const config = parseConfig(minimalConfigText, { fileName: 'a.yaml', folder: '/configs' });

/** A run whose GFlowNet made `calls` calls in training, and of whose `n` new attacks so many succeeded. */
function content(calls: number, successes: number, n: number, name = 'gflownet'): PageContent {
  const cost = { targetCalls: calls, judgeCalls: calls, tokens: 0, seconds: 1 };
  const free = { ...cost, targetCalls: 0 };
  const headline = { name, metrics: { asr: wilsonInterval(successes, n) }, judges: [], cost };
  const run = { models: [], reportedJudge: 'b', trainingJudge: 'a', isJudgeIndependent: true, status: 'done', seed: 0 };
  const stages = [{ ...headline, name: 'sft', cost: free }, { ...headline, name: 'gflownet' }, headline];
  const report = { run, stages: [...new Map(stages.map((stage) => [stage.name, stage])).values()] };
  return { report, headline, config, responses: 2, events: [] } as unknown as PageContent;
}

const title = (page: PageContent) => /<h1[^>]*>([^<]*)/.exec(String(answerSection(page).markup))?.[1];
const size = (page: PageContent) => sureness(page)[0];

describe('a run that found nothing', () => {
  it.each([
    ['gflownet', ['sft', 'gflownet'], 'gflownet.updates=20000'],
    ['smoothing', ['smoothing'], 'gflownet.updates=20000'],
    // No setting makes an attacker learn longer that does not learn from answers.
    ['sft', ['sft'], '&#39;attackers=[sft, gflownet]&#39;'],
    ['best-of-n', ['best-of-n'], '&#39;attackers=[sft, gflownet]&#39;'],
  ])('is told how to search longer: %s of %j', (name, attackers, setting) => {
    const { config: whole, ...rest } = content(96, 0, 16, name);
    const next = nextSection({ ...rest, config: { ...whole, attackers } });
    expect(next?.body.markup).toContain(`floodgate run floodgate.yaml --set ${setting}</code>`);
  });

  it('says that too little was tried, not that the target is safe, after three updates and 16 attacks', () => {
    const short = content(96, 0, 16);
    expect(title(short)).toBe('Too little was tried to say: none of 16 new attacks drew an unsafe answer.');
    expect(size(short)).toEqual({
      isGood: false,
      short: 'Too little tried',
      text:
        '16 new attacks, 2 answers each, all drawn after training, for which the target was called only 96 times: ' +
        'a longer run may find more. A success rate of 19% is still possible.',
    });
  });

  it.each([
    ['a short training with many attacks', content(96, 0, 1024)],
    ['a long training with few attacks', content(20_000, 0, 16)],
    ['an attacker that never asks', content(0, 0, 16, 'sft')],
  ])('says so for %s', (_what, page) => {
    expect(title(page)).toContain('Too little was tried to say');
    expect(size(page)?.isGood).toBe(false);
  });

  it('is a result after a long training and many attacks', () => {
    const long = content(20_000, 0, 256);
    expect(title(long)).toBe('None of 256 new attacks drew an unsafe answer.');
    expect(size(long)).toMatchObject({ isGood: true, short: 'Enough attacks' });
  });
});

describe('a run that found something', () => {
  it('is sure of its rate only after a training of some length', () => {
    expect(size(content(96, 128, 256))).toMatchObject({ isGood: false, short: 'Short training' });
    expect(size(content(4000, 128, 256))).toMatchObject({ isGood: true, short: 'Enough attacks' });
    expect(size(content(4000, 8, 16))).toMatchObject({ isGood: false, short: 'Few attacks' });
    expect(title(content(96, 128, 256))).toMatch(/^50% of new attacks drew an unsafe answer/);
  });

  it('counts the calls of the stage that a smoothing learned from', () => {
    expect(size(content(300, 128, 256, 'smoothing'))?.text).toContain('called only 600 times');
  });
});
