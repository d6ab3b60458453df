import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { AttackerName } from '../../../lab/attackers.ts';
import { BASELINES, CLAIMS, type ClaimComponent, SMOOTHING_WEIGHTS } from '../../../lab/claims/claim-definitions.ts';
import { scatterSvg } from '../../../lab/claims/claims-plot.ts';
import { decideClaims, errorWithinSeed } from '../../../lab/claims/decide.ts';
import { ARMS, type Ground } from '../../../lab/claims/grounds/ground.ts';
import { language } from '../../../lab/claims/grounds/language.ts';
import { made } from '../../../lab/claims/grounds/made.ts';
import { GROUNDS } from '../../../lab/claims/grounds/registry.ts';
import { smollm2 } from '../../../lab/claims/grounds/smollm2.ts';
import { partsOf } from '../../../lab/claims/measure-part.ts';
import { PARTS } from '../../../lab/claims/part-file.ts';
import type { AttackerFigures, SeedResult } from '../../../lab/claims/seed-result.ts';
import { plannedAttacks } from '../planned-attacks.ts';

const figures = (asr: number, ways: number, wordings = 100 * ways): AttackerFigures => ({
  asr,
  ways,
  wordings,
  cosineDistance: 0.5,
  targetCalls: 1000,
});

/** A seed in which smoothing wins as the paper says; `shift` moves its ASR a little, so that intervals have a width. */
function goodSeed(seed: number, shift = 0.01 * seed): SeedResult {
  const baselines = Object.fromEntries(BASELINES.map((name) => [name, figures(0.5, 0.2 + shift / 10)]));
  const weighted = Object.fromEntries(SMOOTHING_WEIGHTS.map((name) => [name, figures(0.9 + shift, 0.95)]));
  return {
    seed,
    attackers: {
      ...baselines,
      ...weighted,
      gflownet: figures(0.85 + shift, 0.7 + shift / 10),
      smoothing: figures(0.9 + shift, 0.95),
    },
    retrained: { gflownet: figures(0.6, 0.5), smoothing: figures(0.7 + shift, 0.6) },
    transfer: {
      other: {
        icl: { asr: 0.1, wordings: 5 },
        sft: { asr: 0.1, wordings: 5 },
        reinforce: { asr: 0.2, wordings: 2 },
        ppo: { asr: 0.2, wordings: 3 },
        smoothing: { asr: 0.5 + shift, wordings: 40 + seed },
      },
    },
    tuned: {
      sft: { asr: { icl: 0.3, reinforce: 0.4, ppo: 0.4 } },
      reinforce: { asr: { icl: 0.3, sft: 0.3, ppo: 0.4 + shift } },
      ppo: { asr: { icl: 0.3, sft: 0.3, reinforce: 0.4 } },
      smoothing: { asr: { icl: 0.1, sft: 0.1, reinforce: 0.1 + shift, ppo: 0.1 } },
    },
  };
}

const verdicts = (seeds: readonly SeedResult[]) =>
  Object.fromEntries(decideClaims(seeds, true).map(({ id, verdict }) => [id, verdict]));

describe('claims', () => {
  it('are all held where the paper is right', () => {
    expect(verdicts([0, 1, 2, 3, 4].map((seed) => goodSeed(seed)))).toEqual({
      C1: 'held',
      C2: 'held',
      C3: 'held',
      C4: 'held',
      C5: 'held',
      C6: 'held',
    });
  });

  it('fail where a baseline finds as many ways, and name that component', () => {
    const seeds = [0, 1, 2].map((seed) => {
      const good = goodSeed(seed);
      return { ...good, attackers: { ...good.attackers, 'best-of-n': figures(0.8, 1 + seed / 100) } };
    });
    const [, c2] = decideClaims(seeds, true);
    expect(c2?.verdict).toBe('failed');
    expect(c2?.statistic).toContain('best-of-n');
    expect(c2?.high).toBeLessThan(0);
  });

  it('are undecided with one seed, and where the interval covers the threshold', () => {
    expect(new Set(Object.values(verdicts([goodSeed(0)])))).toEqual(new Set(['undecided']));
    const torn = [0, 1, 2].map((seed) => {
      const good = goodSeed(seed);
      const ppo = figures(seed === 0 ? 0.99 : 0.5, seed === 0 ? 0.95 : 0.2);
      return { ...good, attackers: { ...good.attackers, ppo } };
    });
    expect(verdicts(torn).C1).toBe('undecided');
  });

  it('are undecided, not failed, where a part was not measured', () => {
    const { retrained: _none, ...rest } = goodSeed(1);
    const c4 = decideClaims([rest, { ...rest, seed: 2 }], true).find(({ id }) => id === 'C4');
    expect(c4?.verdict).toBe('undecided');
    expect(c4?.seeds).toBe(0);
  });

  describe('and the noise of the attacks that were drawn', () => {
    const base = CLAIMS.find(({ id }) => id === 'C4')?.components[0] as ClaimComponent;
    const againstPpo = CLAIMS.find(({ id }) => id === 'C2')?.components[0] as ClaimComponent;
    const noisy = (seed: number, error: number): SeedResult => {
      const good = goodSeed(seed, 0);
      const withError = (name: AttackerName) => ({
        ...(good.attackers[name] as AttackerFigures),
        errors: { asr: error },
      });
      return { ...good, attackers: { ...good.attackers, smoothing: withError('smoothing'), ppo: withError('ppo') } };
    };

    it("is a component's standard error within a seed, by the rule of propagation", () => {
      expect(errorWithinSeed(base, noisy(0, 0.02)) / 0.02).toBeCloseTo(1, 0.8);
      expect(errorWithinSeed(againstPpo, noisy(0, 0.02)) / (0.02 * Math.SQRT2)).toBeCloseTo(1, 0.8);
      expect(errorWithinSeed(base, goodSeed(0))).toBeCloseTo(0, 12);
    });

    it('keeps seeds that fall together by luck from deciding anything', () => {
      const asr = (error: number) =>
        decideClaims(
          [0, 1, 2].map((seed) => noisy(seed, error)),
          true,
        ).find(({ id }) => id === 'C2')?.components[0];
      expect(asr(0)).toMatchObject({ verdict: 'held' });
      expect(asr(0)?.high).toBeCloseTo(asr(0)?.low as number, 12);
      expect(asr(0.2)).toMatchObject({ verdict: 'undecided' });
    });

    it('reaches every part of a seed: attackers, further targets, tuned ones', () => {
      const errors = { asr: 0.05, wordings: 2 };
      const good = goodSeed(0);
      const cells = Object.fromEntries(
        Object.entries(good.transfer?.other ?? {}).map(([name, cell]) => [name, { ...cell, errors }]),
      );
      const tuned = Object.fromEntries(
        Object.entries(good.tuned ?? {}).map(([name, row]) => [
          name,
          { ...row, overRefusal: 0.2, errors: { asr: { icl: 0.05 }, overRefusal: 0.05 } },
        ]),
      );
      const seed = { ...good, transfer: { other: cells }, tuned };
      for (const id of ['C5', 'C6']) {
        for (const component of CLAIMS.find((claim) => claim.id === id)?.components ?? []) {
          expect(errorWithinSeed(component, good), component.name).toBeCloseTo(0, 12);
          expect(errorWithinSeed(component, seed), component.name).toBeGreaterThan(0.005);
        }
      }
    });
  });

  it('read a weighting that smoothing itself has off smoothing', () => {
    const seeds = [0, 1, 2].map((seed): SeedResult => {
      const good = goodSeed(seed);
      const { 'smoothing-uniform': _none, ...attackers } = good.attackers;
      return { ...good, attackers, ownWeights: 'smoothing-uniform' };
    });
    const of = (weights: string) =>
      decideClaims(seeds, true)
        .find(({ id }) => id === 'C3')
        ?.components.find(({ name }) => name === `ASR: ${weights} - gflownet`);
    expect(of('smoothing-uniform')?.seeds).toBe(3);
    expect(of('smoothing-uniform')?.value).toBeCloseTo(of('smoothing-balanced')?.value as number, 12);
  });

  it.each(GROUNDS)('train no weighting twice, and every attacker that a claim names: $name', async (ground) => {
    const { smoothing } = await ground.config({ arm: 'ours', seed: 0, budget: 500, threads: 1, ...worldOf(ground) });
    expect(ground.ownWeights).toBe(`smoothing-${(smoothing as { weights: string }).weights}`);
    const attackers = Object.values(ground.arms).flat();
    expect(attackers).not.toContain(ground.ownWeights);
    expect(attackers).toEqual(expect.arrayContaining(['gflownet', 'smoothing', 'ppo', 'ppo-smoothing']));
    if (ground !== made && ground !== smollm2) return;
    const everyWeight = SMOOTHING_WEIGHTS.filter((name) => name !== ground.ownWeights);
    const named = BASELINES.filter((name) => name !== 'icl' || ground.kind === 'model');
    expect(attackers).toEqual(expect.arrayContaining([...everyWeight, ...named]));
  });

  it('tune the targets of every world at a rate that docs/claims.md tells', () => {
    const page = readFileSync(new URL('../../../docs/claims.md', import.meta.url), 'utf8').replace(/\s+/g, ' ');
    const [, ofWorlds = ''] = /- Safety tuning in synthetic worlds .*?: (\d+e-\d+)\./.exec(page) ?? [];
    const [, ofSmolLm = ''] = /- Safety tuning on SmolLM2 .*?so (\d+e-\d+)\./.exec(page) ?? [];
    expect(made.targets.tuning).toContain(`tuning.learningRate=${ofWorlds}`);
    expect(smollm2.targets.tuning).toContain(`tuning.learningRate=${ofSmolLm}`);
  });

  it('are undecided where few attackers were measured, or the GFlowNet found nothing', () => {
    const few = [0, 1].map((seed): SeedResult => {
      const { attackers, tuned, transfer, ...rest } = goodSeed(seed);
      const { smoothing, ppo } = attackers as Record<'smoothing' | 'ppo', AttackerFigures>;
      return { ...rest, attackers: { smoothing, ppo }, tuned: { ppo: { asr: { smoothing: 0.3 } } }, transfer: {} };
    });
    expect(verdicts(few)).toMatchObject({ C3: 'undecided', C5: 'undecided', C6: 'undecided' });
    const nothing = [0, 1].map((seed): SeedResult => {
      const good = goodSeed(seed);
      return { ...good, attackers: { ...good.attackers, gflownet: figures(0, 0) } };
    });
    const c3 = decideClaims(nothing, true).find(({ id }) => id === 'C3');
    expect(c3?.verdict).toBe('undecided');
    expect(c3?.components[0]?.seeds).toBe(0);
  });

  it('count no over-refusal where an attacker that was measured again has met no tuned target', () => {
    const refusing = (withReinforce: boolean): SeedResult => {
      const { reinforce: dropped, ...tuned } = goodSeed(0).tuned ?? {};
      const rows = Object.entries(withReinforce ? { reinforce: dropped, ...tuned } : tuned).map(([data, row]) => {
        const { reinforce, ...asr } = row?.asr ?? {};
        return [data, { asr: withReinforce ? row?.asr : asr, overRefusal: 0.1 }];
      });
      return { ...goodSeed(0), tuned: Object.fromEntries(rows) };
    };
    const overRefusal = CLAIMS.find(({ id }) => id === 'C6')?.components[1] as ClaimComponent;
    expect(overRefusal.of(refusing(true))).toBeCloseTo(0, 12);
    expect(overRefusal.of(refusing(false))).toBeUndefined();
  });

  it('asks for over-refusal on real models only', () => {
    const components = (isWorld: boolean) =>
      decideClaims([goodSeed(0)], isWorld).find(({ id }) => id === 'C6')?.components.length;
    expect(components(true)).toBe(1);
    expect(components(false)).toBe(2);
  });

  it('stand in docs/claims.md with their statements and thresholds', () => {
    const page = readFileSync(new URL('../../../docs/claims.md', import.meta.url), 'utf8').toLowerCase();
    for (const { id, components } of CLAIMS) {
      expect(page).toContain(`| ${id.toLowerCase()} |`);
      for (const { threshold } of components) expect(page).toContain(`| ${threshold} |`);
    }
  });

  it('have the parts of their ground: a rule has no other targets', () => {
    expect(partsOf(made, PARTS)).toEqual(['ours', 'baselines', 'draws', 'reference', 'transfer', 'retrained', 'tuned']);
    expect(partsOf(language, PARTS)).toEqual(['ours', 'baselines', 'draws', 'reference', 'today']);
  });

  it('stand in docs/claims.md with their grounds, budgets and numbers of seeds', () => {
    const page = readFileSync(new URL('../../../docs/claims.md', import.meta.url), 'utf8');
    for (const { name, budgets, seeds } of GROUNDS) {
      const row = page.split('\n').find((line) => line.startsWith(`| \`${name}\` |`));
      const cells = row?.split('|').map((cell) => cell.trim());
      expect(cells?.slice(3, 5), name).toEqual([
        budgets.map((calls) => calls.toLocaleString('en-US')).join(', '),
        String(seeds),
      ]);
    }
  });

  const places = GROUNDS.flatMap((ground) =>
    ground.budgets.flatMap((budget) =>
      ARMS.filter((arm) => ground.arms[arm] !== undefined).map((arm) => ({ ground, budget, arm })),
    ),
  );

  it.each(places)('ask equally often: $ground.name, $budget calls, $arm', async ({ ground, budget, arm }) => {
    const config = await ground.config({ arm, seed: 0, budget, threads: 1, ...worldOf(ground) });
    const responses = { ours: 1, baselines: 1, draws: 1, reference: 5, today: 2 }[arm];
    expect(config.target.responses).toBe(responses);
    expect(config.attackers).toEqual(ground.arms[arm]);
    expect(config.watch.everyUpdates).toBe(0);
    for (const attacker of ['gflownet', 'reinforce', 'ppo']) {
      if (!config.attackers.includes(attacker)) continue;
      const calls = responses * plannedAttacks(config, attacker, 240);
      expect(calls, attacker).toBeLessThanOrEqual(budget);
      // A batch that does not fit whole is left out.
      expect(calls, attacker).toBeGreaterThan(budget - responses * (attacker === 'gflownet' ? 33 : 64));
    }
    if (arm === 'draws') {
      for (const attacker of ['draws', 'covering']) expect(plannedAttacks(config, attacker, 240)).toBe(budget);
    }
    for (const attacker of config.attackers.filter((name) => name.endsWith('smoothing'))) {
      expect(plannedAttacks(config, attacker, 240), attacker).toBe(0);
    }
  });

  const ofModels = places.filter(({ ground, arm }) => ground !== made && arm !== 'baselines');
  it.each(ofModels)('give the options of our loop to it alone: $ground.name, $budget, $arm', async (place) => {
    const { ground, budget, arm } = place;
    const { gflownet } = await ground.config({ arm, seed: 0, budget, threads: 1, ...worldOf(ground) });
    const seeded = ground === language ? 0.6 * budget : 0;
    const ours = { spread: { eta: 1 }, updatesPerBatch: 4, replay: { seedWithReference: seeded } };
    const others = { spread: { eta: 0 }, updatesPerBatch: 1, replay: { seedWithReference: 0 } };
    expect(gflownet).toMatchObject(arm === 'ours' ? ours : others);
  });

  it('run a language world with its own seed, so that it takes the draws of its world', async () => {
    const config = await language.config({ arm: 'ours', seed: 2, budget: 500, threads: 1, worldSeed: 8002 });
    expect([config.seed, config.world?.seed]).toEqual([8002, 8002]);
  });
});

const worldOf = ({ firstWorldSeed }: Ground) =>
  firstWorldSeed === undefined ? {} : { worldSeed: firstWorldSeed(10_000) };

describe('plots of the claims', () => {
  it('name every point and escape their labels', () => {
    const svg = scatterSvg({
      title: 'a < b',
      xLabel: 'x',
      yLabel: 'y',
      points: [
        { name: 'ppo', x: 0.1, y: 0.2 },
        { name: 'smoothing', x: 0.5, y: 0.9 },
      ],
    });
    expect(svg).toContain('a &lt; b');
    expect(svg.match(/<circle/g)).toHaveLength(2);
    expect(svg).toContain('>smoothing</text>');
  });
});
