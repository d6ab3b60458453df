import { finishPausing } from '../metrics/steps.ts';
import { clusterSuccesses } from '../report/attacks/attack-clusters.ts';
import { readEvaluatedAttacks, textsToEmbed } from '../report/attacks/evaluated-attacks.ts';
import type { Report } from '../report/figures/report-json.ts';
import { embedTexts } from '../report/write-report.ts';
import type { StoreQueries } from '../runs/store/queries.ts';
import type { Config } from '../stages/config/config.ts';
import type { CampaignIo } from '../stages/stage.ts';

/** The wording of each success of an evaluation, by row of the database, or the reason why they are not known. */
export interface Wordings {
  readonly of: ReadonlyMap<number, number>;
  readonly missing: string | undefined;
}

/** Groups the successes of each evaluation that say nearly the same, as the report does; 1 is the largest group. */
export async function findWordings(store: StoreQueries, report: Report, config: Config, io: CampaignIo) {
  const evaluations = readEvaluatedAttacks(store, report).map((stage) => ({
    ...stage,
    attacks: stage.attacks.filter(({ isSuccess }) => isSuccess),
  }));
  const texts = textsToEmbed(evaluations);
  const of = new Map<number, number>();
  if (texts.length === 0) return { of, missing: undefined } satisfies Wordings;
  const vectors = await embedTexts(texts, config, io);
  if (vectors.kind === 'missing')
    return { of, missing: `the encoder ${vectors.encoder} could not be used: ${vectors.reason}` } satisfies Wordings;
  const options = { vectors, threshold: config.evaluation.uniqueThreshold, judge: report.run.reportedJudge };
  for (const stage of evaluations) {
    const steps = clusterSuccesses(store, stage, options);
    const { clusters } = await finishPausing(steps, io.signal, `export ${report.run.name}`, 'export it again');
    for (const [number, { members }] of clusters.entries()) {
      for (const row of members) of.set(stage.attacks[row]?.id ?? -1, number + 1);
    }
  }
  return { of, missing: undefined } satisfies Wordings;
}
