import { createClassifierJudge } from './classifier-judge.ts';
import { createEnsembleJudge, type EnsembleMember } from './ensemble-judge.ts';
import { createGuardJudge } from './guard-judge.ts';
import type { Judge } from './judge.ts';
import type { JudgeConfig } from './judge-config.ts';
import type { JudgeModels } from '../models/open-models.ts';
import { createLexiconJudge } from './lexicon-judge.ts';
import { createMaskedJudge } from './mask-attack-words.ts';
import { openProfanityJudge } from './profanity-judge.ts';
import { openToxBlockJudge } from './tox-block-judge.ts';

type ConfigOf<Kind extends JudgeConfig['kind']> = Extract<JudgeConfig, { kind: Kind }>;

/**
 * The judge of this config, open; close it when done. `models` opens what `classifier` and `guard` need; what was
 * opened is closed again when a later part fails.
 * @throws FloodgateError `judge`, `config` or whatever `models` throws.
 */
export async function openJudge(config: JudgeConfig, models: JudgeModels): Promise<Judge> {
  switch (config.kind) {
    case 'profanity':
      return openProfanityJudge();
    case 'tox-block':
      return openToxBlockJudge({ label: config.label, scale: config.scale });
    case 'lexicon':
      return createLexiconJudge(config);
    case 'classifier':
      return openClassifierJudge(config, models);
    case 'guard':
      return openGuardJudge(config, models);
    case 'masked':
      return createMaskedJudge(await openJudge(config.judge, models));
    case 'ensemble':
      return openEnsembleJudge(config, models);
    default:
      return config satisfies never;
  }
}

async function openClassifierJudge(config: ConfigOf<'classifier'>, models: JudgeModels): Promise<Judge> {
  const { model, activation, labels, device, unsafeLabels, input } = config;
  const classifier = await models.openTextClassifier({ model, activation, labels, device });
  try {
    return createClassifierJudge(classifier, { name: `classifier/${model}`, unsafeLabels, activation, input });
  } catch (error) {
    await classifier.close();
    throw error;
  }
}

async function openGuardJudge(config: ConfigOf<'guard'>, models: JudgeModels): Promise<Judge> {
  const { model, device, format, controversialWeight } = config;
  const scorer = await models.openLabelScorer({ model, device });
  return createGuardJudge(scorer, { name: `guard/${model}`, format, controversialWeight });
}

async function openEnsembleJudge(config: ConfigOf<'ensemble'>, models: JudgeModels): Promise<Judge> {
  const members: EnsembleMember[] = [];
  try {
    for (const { judge, weight } of config.members) members.push({ judge: await openJudge(judge, models), weight });
    return createEnsembleJudge(members, config.ifMissing);
  } catch (error) {
    await Promise.allSettled(members.map(({ judge }) => judge.close()));
    throw error;
  }
}
