import { describe, expect, it } from 'vitest';
import { summarise } from '../../../lab/ablations/run-ablations.ts';
import { updatesOf, VARIANTS, type Variant } from '../../../lab/ablations/variants.ts';
import type { AttackerRows } from '../../../lab/small-worlds/attacker-rows.ts';
import { smallWorldConfig } from '../../../lab/small-worlds/small-world.ts';
import { gflownetSection } from '../../../src/stages/gflownet-section.ts';

const configOf = (variant: Variant) =>
  smallWorldConfig({
    purpose: variant.name,
    seed: 0,
    worldSeed: 2000,
    attackers: ['gflownet'],
    overrides: [`gflownet.updates=${updatesOf(variant)}`, ...variant.overrides],
  });

describe('ablations', () => {
  it.each(VARIANTS.map((variant) => [variant.name, variant] as const))(
    '%s is a config that is accepted',
    (_, variant) => {
      expect(configOf(variant).world).toMatchObject({ keys: 24 });
    },
  );

  it('every variant makes the target calls of the default, to the last update', () => {
    const callsOf = (variant: Variant): { readonly calls: number; readonly step: number } => {
      const config = configOf(variant);
      const { target } = config;
      const gflownet = gflownetSection.of(config);
      const { onPolicyShare } = gflownet.ctb as { onPolicyShare: number };
      const share = gflownet.objective === 'ctb' ? onPolicyShare : gflownet.sampling.freshShare;
      const fresh = Math.round(gflownet.batchSize * share);
      const step = fresh * target.responses;
      return { calls: gflownet.updates * step + gflownet.replay.seedWithReference * target.responses, step };
    };
    const [first] = VARIANTS as readonly [Variant, ...Variant[]];
    const budget = callsOf(first).calls;
    for (const variant of VARIANTS) {
      const { calls, step } = callsOf(variant);
      expect(calls, variant.name).toBeLessThanOrEqual(budget);
      expect(budget - calls, variant.name).toBeLessThan(step);
    }
  });

  it('no two variants are the same', () => {
    expect(new Set(VARIANTS.map(({ overrides }) => overrides.join())).size).toBe(VARIANTS.length);
    expect(new Set(VARIANTS.map(({ name }) => name)).size).toBe(VARIANTS.length);
  });

  describe('a summary', () => {
    const row = (modeRecall: number): AttackerRows => ({
      gflownet: { modeRecall, asr: 0.9, shareError: 0.2, uniqueAttacks: 300, attackerTargetCalls: 1000 },
    });
    const defaults = [row(0.5), row(0.7), row(0.9)];

    it('pairs a variant with the default seed by seed, so that worlds that are easy for both cancel out', () => {
      const { gflownet, smoothing } = summarise('other', [row(0.6), row(0.8), row(1)], defaults);
      expect(gflownet?.figures.modeRecall.value).toBeCloseTo(0.8, 12);
      expect(gflownet?.gain?.modeRecall.low).toBeCloseTo(0.1, 12);
      expect(gflownet?.gain?.modeRecall.high).toBeCloseTo(0.1, 12);
      expect(smoothing).toBeUndefined();
    });

    it('leaves out the seeds that one of the two has not measured', () => {
      const { gflownet } = summarise('other', [row(0.6), {}, row(1)], defaults);
      expect(gflownet?.figures.modeRecall.n).toBe(2);
      expect(gflownet?.gain?.modeRecall.n).toBe(2);
    });

    it('leaves a figure that was not measured out of its mean, and keeps the others', () => {
      const { gflownet } = row(0.6);
      const unknown = { gflownet: { ...gflownet, shareError: null } } as AttackerRows;
      const { gflownet: summary } = summarise('other', [unknown, row(0.8), row(1)], defaults);
      expect(summary?.figures.shareError.n).toBe(2);
      expect(summary?.gain?.shareError.n).toBe(2);
      expect(summary?.figures.modeRecall.n).toBe(3);
    });

    it('compares the default with nothing', () => {
      expect(summarise('default', defaults, defaults).gflownet).not.toHaveProperty('gain');
    });
  });
});
