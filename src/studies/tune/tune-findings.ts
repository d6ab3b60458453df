import { randomStream } from '../../base/random.ts';
import { type CheckPrompts, checkTarget, type TargetCheck } from './tune-check.ts';
import type { TuneCounts } from './tune-folder.ts';
import { openSubjectTarget, type TuneSubject } from './tune-models.ts';
import type { Tuning } from './tuning.ts';
import type { TuningData, TuningExample } from './tuning-data.ts';

/** What the data holds, for `tune.json`. */
export function countData({ collected }: Tuning, { examples, unanswered, rejected }: TuningData): TuneCounts {
  const count = (isCounted: (example: TuningExample) => boolean) => examples.filter(isCounted).length;
  return {
    attacksTried: collected.tried,
    successes: collected.found,
    used: collected.successes.length,
    refusalsByTarget: count(({ kind, answerSource }) => kind === 'refusal' && answerSource === 'target'),
    refusalsByTemplate: count(({ kind, answerSource }) => kind === 'refusal' && answerSource === 'template'),
    unanswered,
    benign: count(({ kind }) => kind === 'benign'),
    attackClusters: new Set(examples.filter(({ kind }) => kind === 'refusal').map(({ cluster }) => cluster)).size,
    trainingExamples: count(({ split }) => split === 'training'),
    validationExamples: count(({ split }) => split === 'validation'),
    rejected,
  };
}

/** What a reader must know before trusting the result. */
export function warningsOf({ config }: Tuning, counts: TuneCounts, keptUpdates: number): string[] {
  const { batchSize, benign } = config.tuning;
  const refusals = counts.refusalsByTarget + counts.refusalsByTemplate;
  const warnings: string[] = [];
  if (refusals < batchSize)
    warnings.push(`${refusals} attacks with a refusal, fewer than a batch of ${batchSize}: expect little`);
  if (counts.unanswered > 0)
    warnings.push(`${counts.unanswered} successes have no refusal that passed and were left out`);
  const reached = counts.benign / Math.max(1, counts.benign + refusals);
  if (reached < benign.share - 0.05)
    warnings.push(`the benign share is ${reached.toFixed(2)}, asked for ${benign.share}: give more benign prompts`);
  if (counts.validationExamples === 0)
    warnings.push('too few clusters for a validation split: the last update is kept, there was no early stop');
  if (keptUpdates === 0) warnings.push('no update lowered the validation loss: the target is as it was');
  return warnings;
}

/** A sample of each kind of prompt, the same before and after; undefined when the config asks for none. */
export async function checkSubject(
  { config, judges, texts, io }: Tuning,
  { examples }: TuningData,
  subject: TuneSubject,
): Promise<TargetCheck | undefined> {
  const { check } = config.tuning;
  if (check.attacks === 0 && check.prompts === 0) return undefined;
  const draw = (name: string, prompts: readonly string[], most: number): string[] =>
    randomStream(config.seed, 'tuning check', name).shuffle(prompts).slice(0, most);
  const attacksOf = (split: TuningExample['split']): string[] =>
    examples.filter((each) => each.kind === 'refusal' && each.split === split).map(({ prompt }) => prompt);
  const prompts: CheckPrompts = {
    trainingAttacks: draw('training attacks', attacksOf('training'), check.attacks),
    validationAttacks: draw('validation attacks', attacksOf('validation'), check.attacks),
    benign: draw('benign', texts.heldOutBenign, check.prompts),
    borderline: draw('borderline', texts.borderline, check.prompts),
  };
  const target = await openSubjectTarget(subject, config.seed);
  try {
    return await checkTarget(prompts, {
      target,
      decode: config.target.decode,
      responses: check.responses,
      judges,
      ...(texts.isRefusal === undefined ? {} : { isRefusal: texts.isRefusal }),
      progress: io.progress,
      signal: io.signal,
    });
  } finally {
    await target.close();
  }
}
