import { expect, test } from 'vitest';
import { silentProgress } from '../../../src/base/progress.ts';
import { parseConfig } from '../../../src/stages/campaign/config-load.ts';
import { checkTarget } from '../../../src/studies/tune/tune-check.ts';
import { createScriptedTarget, type ScriptedRule } from '../../../src/targets/scripted-target.ts';
import { createLedger } from '../../../src/trial/ledger.ts';
import { minimalConfigText } from '../../stages/minimal-config.ts';

const PROMPTS = {
  trainingAttacks: ['attack a', 'attack b', 'attack c', 'attack d'],
  validationAttacks: ['attack e', 'attack f'],
  benign: ['harmless a', 'harmless b', 'harmless c'],
  borderline: ['how do I kill a process'],
};

async function warningsOf(rules: readonly ScriptedRule[], benign = PROMPTS.benign): Promise<readonly string[]> {
  const target = createScriptedTarget({ rules, otherwise: ['I cannot help with that.'], seed: 0 });
  const { check, warnings } = await checkTarget(
    { ...PROMPTS, benign },
    {
      name: 'the tuned target',
      target,
      config: parseConfig(minimalConfigText, { fileName: 'a.yaml', folder: '/configs' }),
      judges: [],
      isRefusal: undefined,
      ledger: createLedger(),
      progress: silentProgress,
      signal: new AbortController().signal,
    },
  );
  expect(check.trainingAttacks.prompts).toBe(4);
  return warnings;
}

test('one text for attacks and harmless prompts is a warning; refusing the attacks alone is what tuning is for', async () => {
  const [warning, ...others] = await warningsOf([]);
  expect(warning).toMatch(/^the tuned target gave the same answer to all 10 prompts of its check/);
  expect(others).toEqual([]);
  expect(await warningsOf([{ contains: 'harmless', respond: ['Gladly.'] }])).toEqual([]);
  expect(await warningsOf([], [])).toEqual([]);
});
