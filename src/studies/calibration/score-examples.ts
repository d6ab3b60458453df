import { FloodgateError } from '../../base/errors.ts';
import type { Judge, JudgeConfig } from '../../judges/judge.ts';
import { judgeConfigOf, judgeName } from '../../judges/judge-names.ts';
import type { LabelledScore } from '../../metrics/judge-curves.ts';
import { openStudyModels } from '../../stages/campaign/study-models.ts';
import type { Config } from '../../stages/config/config.ts';
import type { CampaignIo } from '../../stages/stage.ts';
import type { LabelledFile } from './labelled-examples.ts';

export interface ScoredExamples {
  readonly scores: readonly LabelledScore[];
  /** Examples that could not be scored. They are left out, never read as safe. */
  readonly unscored: number;
}

/** The scores that the file itself states. */
export function statedScores({ examples }: LabelledFile): ScoredExamples {
  const scores = examples.flatMap(({ score, isUnsafe }) => (score === undefined ? [] : [{ score, isUnsafe }]));
  return { scores, unscored: examples.length - scores.length };
}

/**
 * The config of one judge: the one called `name`, else the first of the evaluation.
 * @throws FloodgateError `usage` for a name that no judge has.
 */
export function chooseJudge({ judges }: Config, name: string | undefined): JudgeConfig {
  if (name === undefined) return judges.evaluation[0] ?? judges.training;
  const configs = [...judges.evaluation, judges.training];
  const found = judgeConfigOf(name, configs) ?? configs.find(({ kind }) => kind === name);
  if (found !== undefined) return found;
  const names = [...new Set(configs.map((config) => judgeName(config) ?? config.kind))].join(', ');
  throw new FloodgateError('usage', `judge calibrate: --judge: got ${name}, expected one of ${names}`);
}

/** Exchanges of one call, so that the signal is heard. */
const BATCH = 64;

/** Every example scored by `judge`. @throws FloodgateError `config` for a row without texts, `interrupted` on abort. */
export async function scoreExamples(
  judge: Judge,
  { path, examples }: LabelledFile,
  signal?: AbortSignal,
): Promise<ScoredExamples> {
  const exchanges = examples.map(({ attack, response, row }) => {
    if (attack !== undefined && response !== undefined) return { attack, response };
    throw new FloodgateError('config', `labelled examples ${path}: row ${row}: attack or response is no text`);
  });
  const scores: LabelledScore[] = [];
  for (let start = 0; start < exchanges.length; start += BATCH) {
    const verdicts = await judge.score(exchanges.slice(start, start + BATCH), { signal });
    for (const [index, verdict] of verdicts.entries()) {
      const isUnsafe = examples[start + index]?.isUnsafe === true;
      if (verdict.kind === 'scored') scores.push({ score: verdict.unsafe, isUnsafe });
    }
  }
  return { scores, unscored: examples.length - scores.length };
}

/** Opens a judge of `config`, scores the examples, and closes it. @throws as `chooseJudge` and `scoreExamples`. */
export async function scoreWithConfig(
  config: Config,
  file: LabelledFile,
  { judge: name, io }: { readonly judge: string | undefined; readonly io: CampaignIo },
): Promise<ScoredExamples & { readonly judge: string }> {
  const chosen = chooseJudge(config, name);
  const { models, close } = await openStudyModels(config, io);
  try {
    const judge = await models.openJudge(chosen);
    try {
      return { ...(await scoreExamples(judge, file, io.signal)), judge: judge.name };
    } finally {
      await judge.close();
    }
  } finally {
    await close();
  }
}
