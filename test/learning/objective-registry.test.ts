import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineObjective, objectiveKinds } from '../../src/learning/objectives/registry.ts';
import { varGrad } from '../../src/learning/objectives/vargrad.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { gflownetSection } from '../../src/stages/gflownet-section.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';

const parse = (overrides: readonly string[]) =>
  gflownetSection.of(parseConfig(minimalConfigText, { fileName: 'c.yaml', folder: '/tmp', overrides }));

/** Before the objective of a user exists. */
const refusedAtFirst = (() => {
  try {
    parse(['gflownet.objective=damped']);
    return '';
  } catch (error) {
    return String(error);
  }
})();

/** Settings of every objective that was made. */
const made: unknown[] = [];

/** An objective as a user writes one: VarGrad, its slope made smaller. */
const damped = defineObjective({
  name: 'damped',
  describe: 'vargrad with a smaller slope',
  settings: z.strictObject({ by: z.number().gt(0).default(0.5) }).prefault({}),
  leastRows: 3,
  usesLogZ: false,
  create: ({ by }) => {
    made.push(by);
    const { batchWeights: _onePass, ...inner } = varGrad();
    return {
      ...inner,
      name: 'damped',
      gradient: (logProbs, logRewards, logZ) => inner.gradient(logProbs, logRewards, logZ).map((slope) => by * slope),
    };
  },
  freshShare: () => 0.9,
});

describe('an objective of a user', () => {
  it('is known to the registry after ours, and can be made with its settings', () => {
    expect(objectiveKinds.names()).toEqual(['tb', 'vargrad', 'ctb', 'damped']);
    const objective = damped.create({ by: 0.25 });
    const plain = varGrad().gradient([-1, -2, -3], [-2, -2, -2], 0);
    expect(objective.gradient([-1, -2, -3], [-2, -2, -2], 0)).toEqual(plain.map((slope) => slope / 4));
  });

  it('is accepted by the config once it is defined, with its settings and their defaults', () => {
    expect(refusedAtFirst).toContain('gflownet.objective');
    expect(refusedAtFirst).toContain('damped');
    expect(parse(['gflownet.objective=damped'])).toMatchObject({ objective: 'damped', damped: { by: 0.5 } });
    expect(parse(['gflownet.objective=damped', 'gflownet.damped.by=2'])).toMatchObject({ damped: { by: 2 } });
    expect(new Set(made.splice(0))).toEqual(new Set([0.25, 0.5, 2])); // the stage makes it with the config's settings
    expect(parse([])).toMatchObject({ objective: 'tb', ctb: { sigma: 0.1 } });
  });

  it('has its settings and least rows checked like those of ours', () => {
    expect(() => parse(['gflownet.damped.by=0'])).toThrow(/gflownet\.damped\.by/);
    expect(() => parse(['gflownet.damped.with=1'])).toThrow(/with/);
    const few = ['gflownet.objective=damped', 'gflownet.batchSize=2', 'gflownet.accumulation=1'];
    expect(() => parse(few)).toThrow(/objective damped compares at least 3/);
  });

  it('cannot take the name of another, or one that is no key of a config', () => {
    const named = (name: string) => () => defineObjective({ ...damped, name });
    expect(named('vargrad')).toThrow('define objective: the name vargrad is taken');
    expect(named('Damped!')).toThrow(/got the name "Damped!"/);
    expect(() => objectiveKinds.get('dampd')).toThrow(
      expect.objectContaining({ code: 'usage', hint: 'did you mean damped?' }),
    );
  });
});
