import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { createBatchedJudge } from '../../src/judges/judge.ts';
import { defineJudge } from '../../src/judges/registry.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { startRun } from '../../src/stages/campaign/run-campaign.ts';
import { openRunModels } from '../../src/stages/campaign/run-models.ts';
import type { JudgeConfig } from '../../src/stages/config/config.ts';
import { minimalConfigText } from './minimal-config.ts';
import { createTinyCampaign, type TinyCampaign } from './tiny-campaign.ts';

/** A judge of a user that states no name for its config. */
defineJudge({
  name: 'constant',
  describe: 'one value for everything',
  fields: { value: z.number().min(0).max(1).default(0) },
  open: async ({ value }) =>
    createBatchedJudge({
      name: 'constant',
      scoreBatch: async (exchanges) => exchanges.map(() => ({ kind: 'scored', unsafe: value })),
    }),
});

const lexiconOf = (term: string, name?: string): JudgeConfig => ({
  kind: 'lexicon',
  rules: [{ terms: [term] }],
  ...(name === undefined ? {} : { name }),
});
const classifierOf = (label: string, more = {}): JudgeConfig => ({
  kind: 'classifier',
  model: './clf',
  unsafeLabels: [label],
  ...more,
});

function parseJudges(training: JudgeConfig, evaluation: readonly JudgeConfig[]) {
  const overrides = [`judges=${JSON.stringify({ training, evaluation })}`];
  return parseConfig(minimalConfigText, { fileName: 'a.yaml', folder: '/configs', overrides });
}

describe('a config', () => {
  test('is refused when two judges of one name have different settings', () => {
    expect(() => parseJudges(lexiconOf('alarm'), [lexiconOf('fine')])).toThrow(
      'judges.evaluation[0]: got the name lexicon, which judges.training has with other settings',
    );
    expect(() => parseJudges(lexiconOf('alarm'), [classifierOf('toxic'), classifierOf('threat')])).toThrow(
      'judges.evaluation[1]: got the name classifier//configs/clf, which judges.evaluation[0] has',
    );
    const guard = { kind: 'guard', model: 'g', format: 'qwen3guard' };
    expect(() => parseJudges(guard, [{ ...guard, controversialWeight: 1 }])).toThrow('the name guard/g');
  });

  test('is refused when the names are of judges inside others, or of one path written twice', () => {
    const masked = (judge: JudgeConfig): JudgeConfig => ({ kind: 'masked', judge });
    expect(() => parseJudges(masked(lexiconOf('a')), [masked(lexiconOf('b'))])).toThrow('the name lexicon/masked');
    const both = (judge: JudgeConfig): JudgeConfig => ({ kind: 'ensemble', members: [{ judge }] });
    expect(() => parseJudges(both(lexiconOf('a')), [both(lexiconOf('b'))])).toThrow('the name ensemble(lexicon*1)');
    expect(() => parseJudges(classifierOf('a'), [classifierOf('b', { model: '/configs/clf' })])).toThrow('the name');
  });

  test('may name one judge twice, and tells judges of one model apart by a name', () => {
    expect(() => parseJudges(lexiconOf('alarm'), [lexiconOf('alarm'), lexiconOf('fine', 'polite')])).not.toThrow();
    const [toxic, threat] = [classifierOf('toxic'), classifierOf('threat', { name: 'threats' })];
    expect(() => parseJudges(lexiconOf('alarm'), [toxic, threat])).not.toThrow();
  });
});

describe('a run', () => {
  let tiny: TinyCampaign;
  beforeAll(async () => {
    tiny = await createTinyCampaign();
  });
  afterAll(() => tiny.remove());

  const constants = `judges=${JSON.stringify({
    training: { kind: 'constant', value: 0 },
    evaluation: [{ kind: 'constant', value: 1 }],
  })}`;
  const refusal = 'two judges with different settings have the name constant';

  test('is refused when its judges tell one name only after opening', async () => {
    const { runsFolder } = tiny;
    const run = startRun({ config: tiny.config([constants]), runsFolder, name: 'same', ifTaken: 'refuse' }, tiny.io());
    await expect(run).rejects.toThrow(refusal);
    expect(existsSync(`${runsFolder}/same/manifest.json`)).toBe(false);
    expect(liveSessionLabels()).toEqual([]);
  });

  test('lends its judges to a study only when their names differ', async () => {
    const models = openRunModels(tiny.config([constants]), tiny.io(), undefined);
    await expect(models.openJudges()).rejects.toThrow(refusal);
    const [first, ...more] = await openRunModels(
      tiny.config([constants.replace('"value":1', '"value":0')]),
      tiny.io(),
      undefined,
    ).openJudges();
    expect([first?.name, more]).toEqual(['constant', []]);
  });
});
