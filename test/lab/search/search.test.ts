import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { made } from '../../../lab/claims/grounds/made.ts';
import { bestTrials, type SearchTrial, searchScore } from '../../../lab/search/run-search.ts';
import { SEARCHED, type SearchedAttacker, SPACES, trialOverrides } from '../../../lab/search/search-spaces.ts';
import { smallWorldConfig } from '../../../lab/small-worlds/small-world.ts';
import { plannedAttacks } from '../planned-attacks.ts';

const TRIALS = [...Array(20).keys()];

const configOf = (overrides: readonly string[]) =>
  smallWorldConfig({ purpose: 'a test', seed: 0, worldSeed: 900, attackers: SEARCHED, overrides });

const row = (modeRecall: number, asr: number) => ({
  modeRecall,
  asr,
  shareError: 0.2,
  uniqueAttacks: 300,
  attackerTargetCalls: 1000,
});

/** Settings that the searches of docs/search.md began with. */
const FIRST_TRIAL: Readonly<Record<string, readonly string[]>> = {
  gflownet: ['gflownet.learningRate=0.000173', 'gflownet.logZLearningRate=0.107'],
  smoothing: ['smoothing.learningRate=0.000161', 'smoothing.updates=300'],
  reinforce: ['reinforce.learningRate=0.000629', 'reinforce.kl=0.0474'],
  'stable-gfn': ['gflownet.ctb.sigma=0.114', 'gflownet.ctb.huber=9.51'],
  ppo: ['ppo.learningRate=0.000518', 'ppo.kl=0.0471'],
};

describe.each(SEARCHED)('the search of %s', (attacker) => {
  it('draws settings that a config accepts, within its space', () => {
    for (const trial of TRIALS) {
      expect(() => configOf(trialOverrides(attacker, trial))).not.toThrow();
      const rate = trialOverrides(attacker, trial).find((override) => override.includes('.learningRate='));
      if (rate === undefined) continue;
      const value = Number(rate.split('=')[1]);
      expect(value).toBeGreaterThanOrEqual(1e-4);
      expect(value).toBeLessThanOrEqual(1e-2);
    }
  });

  it('begins with the defaults, draws the same settings in every process, and no two trials alike', () => {
    expect(trialOverrides(attacker, 0)).toEqual([]);
    expect(trialOverrides(attacker, 1).slice(0, 2)).toEqual(FIRST_TRIAL[attacker]);
    expect(new Set(TRIALS.map((trial) => trialOverrides(attacker, trial).join())).size).toBe(TRIALS.length);
    expect(trialOverrides(attacker, 1)).toHaveLength(Object.keys(SPACES[attacker]).length);
  });

  it('leaves every attacker the target calls that it has', () => {
    const calls = (overrides: readonly string[]) => {
      const config = configOf(overrides);
      return ['gflownet', 'reinforce', 'ppo'].map((attacker) => plannedAttacks(config, attacker, 1000));
    };
    for (const trial of TRIALS) expect(calls(trialOverrides(attacker, trial))).toEqual(calls([]));
  });
});

describe('the best of a search', () => {
  const trial = (attacker: SearchTrial['attacker'], number: number, score: number): SearchTrial => ({
    attacker,
    trial: number,
    overrides: [],
    rows: [],
    score,
  });

  it('is chosen by keys found x ASR over all worlds; a world without a measurement counts as nothing', () => {
    expect(searchScore([row(0.5, 0.8), row(1, 0.6)])).toBeCloseTo(0.5, 12);
    expect(searchScore([row(0.5, 0.8), undefined])).toBeCloseTo(0.2, 12);
    expect(searchScore([{ ...row(0.5, 0.8), modeRecall: null }])).toBe(0);
  });

  it('is one trial an attacker, of equals the earlier', () => {
    const trials = [trial('ppo', 0, 0.3), trial('ppo', 1, 0.5), trial('ppo', 2, 0.5), trial('reinforce', 0, 0.1)];
    expect(bestTrials(trials)).toEqual([trials[1], trials[3]]);
  });
});

describe('what the search found', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/search.md'), 'utf8');
  const winners = [...page.matchAll(/^\| ([\w-]+) \| \*\*(\d+)\*\* \|/gm)].map(
    ([, attacker, trial]) => [attacker as SearchedAttacker, Number(trial)] as const,
  );

  it('names one winner an attacker in docs/search.md', () => {
    expect(winners.map(([attacker]) => attacker).sort()).toEqual([...SEARCHED].sort());
  });

  it('says that the claims have another smoothing since, and names it', async () => {
    const { smoothing } = (await made.config({ arm: 'ours', seed: 0, budget: 10_000, threads: 1 })) as unknown as {
      smoothing: { learningRate: number; balance: number };
    };
    const later = /chosen again later, .* learning rate (\S+), balance (\d\.\d+)/.exec(page.replaceAll('\n', ' '));
    expect(later?.slice(1).map(Number)).toEqual([smoothing.learningRate, smoothing.balance]);
  });

  const inClaims = winners.filter(([attacker]) => attacker !== 'smoothing');
  it.each(inClaims)('%s of trial %i stands in the runs of the claims', async (attacker, trial) => {
    const claims = await made.config({ arm: 'baselines', seed: 0, budget: 10_000, threads: 1 });
    const valueAt = (key: string): unknown =>
      key.split('.').reduce<unknown>((section, name) => (section as Record<string, unknown>)[name], claims);
    for (const override of trialOverrides(attacker, trial)) {
      const [key, value] = override.split('=') as [string, string];
      expect(String(valueAt(key)), key).toBe(String(Number.isNaN(Number(value)) ? value : Number(value)));
    }
  });
});
