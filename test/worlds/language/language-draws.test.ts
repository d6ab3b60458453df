import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentProgress } from '../../../src/base/progress.ts';
import { randomStream } from '../../../src/base/random.ts';
import type { Attacker, AttackerState } from '../../../src/learning/attacker.ts';
import { createOpenModels } from '../../../src/models/open-models.ts';
import { type DrawSource, drawRequests, type LanguageDraw } from '../../../src/worlds/language/language-draws.ts';
import { weighLanguage } from '../../../src/worlds/language/language-posterior.ts';
import { openLanguageAttacker } from '../../../src/worlds/language/language-reference.ts';
import { DEFAULT_LANGUAGE_WORLD } from '../../../src/worlds/language/language-spec.ts';
import { languageProblems, summariseLanguage } from '../../../src/worlds/language/language-truth.ts';
import { type CentreMeter, fitRegions, type Region } from '../../../src/worlds/language/regions.ts';
import { testPath } from '../../support/golden-file.ts';

/** Two "centres" that need no encoder: the share of two letters in a text. */
const cosinesOf = (text: string): number[] =>
  ['a', 'e'].map((letter) => [...text].filter((each) => each === letter).length / Math.max(1, text.length));
const meter: CentreMeter = { cosinesOf: async (texts) => texts.map(cosinesOf), close: async () => undefined };

const REGIONS: readonly Region[] = [
  { text: 'a', phrase: 'a', prior: 0.05, leak: 1, radius: 0.16, nearRadius: 0.14 },
  { text: 'e', phrase: 'e', prior: 0.05, leak: 0.9, radius: 0.16, nearRadius: 0.14 },
];
const RULE = { beta: 0.2, gamma: 1, noise: 0, responses: 5 };

describe('draws from the mixture of reference and proposal', () => {
  let folder: string;
  let attacker: Attacker;
  let source: DrawSource;
  let draws: LanguageDraw[];

  const adapter = (name: string, size: number): AttackerState => {
    const parameters = attacker.createParameters();
    const stream = randomStream(1, name);
    for (let i = 0; i < parameters.data.length; i++) parameters.data[i] = size * stream.nextNormal();
    return attacker.stateOf(parameters);
  };
  const plan = (count: number, place: string) => ({
    folder: path.join(folder, place),
    name: 'draws',
    seed: 3,
    count,
    progress: silentProgress,
  });

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'floodgate-draws-'));
    const place = path.join(folder, 'attacker');
    await cp(testPath('fixtures', 'models', 'smollm2'), place, { recursive: true });
    const shape = JSON.parse(await readFile(path.join(place, 'config.json'), 'utf8'));
    await writeFile(path.join(place, 'config.json'), JSON.stringify({ ...shape, max_position_embeddings: 256 }));
    const models = createOpenModels({ threads: 1, cacheDir: path.join(folder, 'cache') });
    attacker = await openLanguageAttacker(await models.openDecoder(place), { device: 'cpu', threads: 1 });
    source = {
      attacker,
      reference: adapter('reference', 0.05),
      proposer: attacker,
      proposal: adapter('proposal', 0.2),
      meter,
    };
    draws = await drawRequests(source, plan(2048, 'mixture'));
  }, 120_000);
  afterAll(async () => {
    await attacker.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('represent the whole prior mass, and none of them more than a plain draw of its half', () => {
    const total = draws.reduce((sum, { prior }) => sum + prior, 0);
    const error = Math.sqrt(draws.reduce((sum, { prior }) => sum + (prior - 1 / 2048) ** 2, 0));
    expect(Math.abs(total - 1)).toBeLessThan(4 * error);
    expect(Math.max(...draws.map(({ prior }) => prior))).toBeLessThanOrEqual(1 / (16 * 64) + 1e-12);
    expect(draws.filter(({ isPlain }) => isPlain)).toHaveLength(16 * 64);
    expect(new Set(draws.map(({ prior }) => prior)).size).toBeGreaterThan(1000); // the two distributions differ
  });

  it('give the shares of the posterior and the base rate that many plain samples give', async () => {
    const plain = await drawRequests({ ...source, proposal: source.reference }, plan(4096, 'plain'));
    const regions = fitRegions(REGIONS, plain);
    const [weighted, truth] = [weighLanguage(draws, regions, RULE), weighLanguage(plain, regions, RULE)];
    const near = (a: { share: number; error: number }, b: { share: number; error: number }): void =>
      expect(Math.abs(a.share - b.share)).toBeLessThan(4 * Math.hypot(a.error, b.error));
    near(weighted.baseRate, truth.baseRate);
    for (const [i, key] of weighted.keys.entries()) near(key, truth.keys[i] as typeof key);
    expect(truth.keys.every(({ share }) => share > 0.05)).toBe(true);
    expect(weighted.effective).toBeLessThan(2048);
    expect(truth.plain.draws).toBe(32 * 64);
    expect([...weighted.keys, weighted.keyless].reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 9);
  });

  it('are read again, and those of a damaged batch are refused', async () => {
    expect(await drawRequests(source, plan(2048, 'mixture'))).toEqual(draws);
    await writeFile(path.join(folder, 'mixture', '0003.json'), '[{"tokens":1}]');
    await expect(drawRequests(source, plan(2048, 'mixture'))).rejects.toMatchObject({ code: 'format' });
  });

  it('stop between two batches', async () => {
    const stopped = drawRequests(source, { ...plan(128, 'stopped'), signal: AbortSignal.abort() });
    await expect(stopped).rejects.toMatchObject({ code: 'interrupted' });
  });
});

describe('admission', () => {
  const region = REGIONS[0] as Region;
  const good = {
    keys: [{ share: 0.98, error: 0.02, success: 1, alarm: 1 }],
    keyless: { share: 0.02, error: 0.01, success: 0, alarm: 0 },
    falseAlarms: { share: 0, error: 0 },
    logZ: -4,
    leakError: 0,
    exactRecall: 1,
    exactSuccess: 0.98,
    effective: 50,
    baseRate: { share: 0.02, error: 0.002 },
    plain: { successes: 20, draws: 1000 },
    held: [60],
  };
  const problems = (change: Partial<typeof good>) =>
    languageProblems(DEFAULT_LANGUAGE_WORLD, [region], { ...good, ...change }).join('; ');

  it('takes a world whose truth is known, and says each reason against another', () => {
    expect(problems({})).toBe('');
    expect(problems({ exactSuccess: 0.5 })).toMatch(/succeed at 0\.500/);
    expect(problems({ baseRate: { share: 0.02, error: 0.01 } })).toMatch(/known to 50%/);
    expect(problems({ baseRate: { share: 0.05, error: 0.001 }, plain: { successes: 50, draws: 1000 } })).toMatch(
      /base rate is 5\.0e-2, expected about 0\.02/,
    );
    expect(problems({ baseRate: { share: 0, error: 0 } })).toMatch(/known to NaN%/);
    const share = (value: number, error: number) => [{ share: value, error, success: 1, alarm: 1 }];
    expect(problems({ held: [3] })).toBe(
      'too few draws reach a (3 draws, share known to 2%), expected 8 draws and 50%',
    );
    expect(problems({ keys: share(0.98, 0.6) })).toMatch(/reach a \(60 draws, share known to 61%\)/);
    expect(problems({ keys: share(0, 0), held: [0] })).toMatch(/reach a \(0 draws, share unknown\)/);
    expect(problems({ plain: { successes: 60, draws: 1000 } })).toMatch(/succeed 60\.0 times in 1000.*expect 20\.0/);
    expect(problems({ falseAlarms: { share: 0.2, error: 0.01 } })).toMatch(/false alarms carry 20/);
    expect(problems({ leakError: 0.1 })).toMatch(/misses its leaks/);
  });

  it('summarises a region that no draw reaches as unknown', () => {
    const posterior = weighLanguage([], [region], RULE);
    expect(summariseLanguage([region], posterior).held).toEqual([0]);
  });
});
