import { canonicalJson } from '../../base/canonical-json.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { ParameterVector } from '../../engine/optimizer/flat-parameters.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import type { Attacker } from '../../learning/attacker.ts';
import { loadLatestCheckpoint } from '../../learning/checkpoints/checkpoint-folder.ts';
import { damagedWorld } from '../world-file.ts';
import { type DrawPlan, PROPOSAL, referenceDraws, referenceSha256 } from './language-draws.ts';
import { type LanguagePosterior, type LanguageRule, weighLanguage } from './language-posterior.ts';
import { languageAdapter, openProposer } from './language-reference.ts';
import type { LanguageWorld } from './language-world.ts';

/** The attacker of a run, and the reference that its SFT has left. */
export interface MeasuredReference {
  readonly attacker: Attacker;
  /** sha256 of the attacker's base weights, hex. */
  readonly model: string;
  readonly reference: ParameterVector;
}

export interface LanguageMeasurePlan extends Pick<DrawPlan, 'progress' | 'signal'> {
  readonly compute: ComputeOptions;
  readonly rule: LanguageRule;
}

/**
 * The posterior of a run's own reference and reward in a language world. A run that has learned as the world's own
 * reference did takes the draws of the world.
 *
 * @throws FloodgateError `config` for an attacker of another model; `interrupted` between two batches.
 */
export async function measureLanguage(
  world: LanguageWorld,
  { attacker, model, reference }: MeasuredReference,
  { compute, rule, progress, signal }: LanguageMeasurePlan,
): Promise<LanguagePosterior> {
  const { spec, folder, keys } = world;
  if (model !== world.models.attacker) {
    throw new FloodgateError(
      'config',
      `measure the world: attacker.model is not ${spec.attacker}, its world.attacker`,
      {
        hint: 'set world.attacker to the attacker that the run trains',
      },
    );
  }
  const proposer = await proposerOf(attacker, compute);
  const meter = await world.openMeter();
  try {
    const proposal = proposer.createParameters();
    const found = await loadLatestCheckpoint({ folder, stage: PROPOSAL }, proposal);
    if (found === undefined) throw damagedWorld(folder, 'its proposal is missing');
    const source = {
      attacker,
      reference: attacker.stateOf(reference),
      proposer,
      proposal: proposer.stateOf(proposal),
      meter,
    };
    const sha256 = referenceSha256(attacker, reference);
    const plan = { folder, seed: spec.seed, count: spec.samples, progress, signal, reference: sha256 };
    return weighLanguage(await referenceDraws(source, plan), keys, rule);
  } finally {
    await meter.close();
    if (proposer !== attacker) await proposer.close();
  }
}

async function proposerOf(attacker: Attacker, compute: ComputeOptions): Promise<Attacker> {
  if (canonicalJson(attacker.spec.trainable) === canonicalJson(languageAdapter())) return attacker;
  return openProposer(attacker.spec, compute);
}
