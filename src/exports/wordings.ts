import { finishPausing } from '../metrics/steps.ts';
import { clusterSuccesses } from '../report/attacks/attack-clusters.ts';
import { readEvaluatedAttacks, textsToEmbed } from '../report/attacks/evaluated-attacks.ts';
import type { Report } from '../report/figures/report-json.ts';
import { embedTexts } from '../report/write-report.ts';
import { type Labels, wordingName } from '../runs/store/labels.ts';
import type { StoreQueries } from '../runs/store/queries.ts';
import type { Config } from '../stages/config/config.ts';
import type { CampaignIo } from '../stages/stage.ts';

/** The wording of each success of an evaluation, by row of the database, or the reason why they are not known. */
export interface Wordings {
  readonly of: ReadonlyMap<number, number>;
  /** The names that readers gave them, by row of the database. */
  readonly names: ReadonlyMap<number, string>;
  readonly missing: string | undefined;
}

export interface WordingParts {
  readonly report: Report;
  readonly config: Config;
  readonly labels: Labels;
}

/** Groups the successes of each evaluation that say nearly the same, as the report does; 1 is the largest group. */
export async function findWordings(
  store: StoreQueries,
  { report, config, labels }: WordingParts,
  io: CampaignIo,
): Promise<Wordings> {
  const evaluations = readEvaluatedAttacks(store, report).map((stage) => ({
    ...stage,
    attacks: stage.attacks.filter(({ isSuccess }) => isSuccess),
  }));
  const texts = textsToEmbed(evaluations);
  const of = new Map<number, number>();
  const names = new Map<number, string>();
  if (texts.length === 0) return { of, names, missing: undefined };
  const vectors = await embedTexts(texts, config, io);
  if (vectors.kind === 'missing')
    return { of, names, missing: `the encoder ${vectors.encoder} could not be used: ${vectors.reason}` };
  const options = { vectors, threshold: config.evaluation.uniqueThreshold, judge: report.run.reportedJudge };
  for (const stage of evaluations) {
    const steps = clusterSuccesses(store, stage, options);
    const { clusters } = await finishPausing(steps, io.signal, `export ${report.run.name}`, 'export it again');
    for (const [number, { members }] of clusters.entries()) {
      const name = wordingName(
        labels,
        members.map((row) => stage.attacks[row]?.text ?? ''),
      );
      for (const row of members) {
        const id = stage.attacks[row]?.id ?? -1;
        of.set(id, number + 1);
        if (name !== null) names.set(id, name);
      }
    }
  }
  return { of, names, missing: undefined };
}
