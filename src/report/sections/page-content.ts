import type { JudgeMeasures } from '../../judges/judge.ts';
import { judgeConfigOf, judgeMeasures } from '../../judges/judge-names.ts';
import type { Steps } from '../../metrics/steps.ts';
import type { Manifest } from '../../runs/manifest.ts';
import { type Labels, NO_LABELS, wordingName } from '../../runs/store/labels.ts';
import type { StoreQueries } from '../../runs/store/queries.ts';
import type { StoredEvent } from '../../runs/store/records.ts';
import { evaluationStage } from '../../runs/store/stage-name.ts';
import type { Config } from '../../stages/config/config.ts';
import { type CausesRecord, causeSha256, storedCauses } from '../../stages/evaluation/causes-record.ts';
import { stages } from '../../stages/registry.ts';
import { clusterSuccesses, type SuccessClusters } from '../attacks/attack-clusters.ts';
import { type AttackMap, mapAttacks } from '../attacks/attack-map.ts';
import { type EvaluatedStage, readEvaluatedAttacks, type TextVectors } from '../attacks/evaluated-attacks.ts';
import { readLearningCurves, type StageCurves } from '../figures/learning-curves.ts';
import type { Report, ReportStage } from '../figures/report-json.ts';
import { type Coverage, coverageOf } from '../taxonomy/coverage.ts';
import { builtInTaxonomy, type Taxonomy } from '../taxonomy/taxonomy.ts';
import { headlineStage } from '../words/stage-words.ts';

/** The content of a page: everything read and computed, nothing written as markup yet. */
export interface PageContent {
  readonly report: Report;
  readonly manifest: Manifest;
  readonly config: Config;
  /** The attacker of the first screen; undefined while nothing was evaluated. */
  readonly headline: ReportStage | undefined;
  readonly evaluations: readonly EvaluatedStage[];
  /** Responses drawn for each attack of the headline's evaluation. */
  readonly responses: number;
  readonly curves: readonly StageCurves[];
  /** Names of the metrics of evaluations. A stage's other metrics come from its last training update. */
  readonly evaluationMetrics: ReadonlySet<string>;
  readonly clusters: SuccessClusters | undefined;
  /** The ways of the headline's successes, with their texts; undefined where they were not looked for. */
  readonly ways: CausesRecord | undefined;
  /** The names that readers gave to the ways and to the clusters, in their order; null for none. */
  readonly wayNames: readonly (string | null)[];
  readonly wordingNames: readonly (string | null)[];
  readonly map: AttackMap | undefined;
  readonly vectors: TextVectors;
  /** The quality that the reported judge takes for unsafe; undefined where that is meant to be harm. */
  readonly measures: JudgeMeasures | undefined;
  /** The parts of the taxonomies that the run's judges could see. */
  readonly coverage: Coverage;
  readonly events: readonly StoredEvent[];
}

export interface PageSource {
  readonly store: StoreQueries;
  readonly report: Report;
  readonly manifest: Manifest;
  readonly config: Config;
  /** Vectors of `textsToEmbed(readEvaluatedAttacks(...))`, or the reason why there are none. */
  readonly vectors: TextVectors;
  /** Default: the table that ships with Floodgate. */
  readonly taxonomy?: Taxonomy;
  /** Default: none. */
  readonly labels?: Labels;
}

/** Returns the content of a run's page, from its present database. May pause. */
export function* collectPageContent(source: PageSource): Steps<PageContent> {
  const { store, report, manifest, config, vectors, taxonomy = builtInTaxonomy(), labels = NO_LABELS } = source;
  const evaluations = readEvaluatedAttacks(store, report);
  const headline = headlineStage(report);
  const measured = report.stages.flatMap(({ name }) => store.metrics(evaluationStage(name)));
  const evaluated = evaluations.find(({ stage }) => stage === headline?.name);
  const { training, evaluation } = config.judges;
  const reported = judgeConfigOf(report.run.reportedJudge, [training, ...evaluation]);
  const threshold = config.evaluation.uniqueThreshold;
  const clusters =
    evaluated === undefined
      ? undefined
      : yield* clusterSuccesses(store, evaluated, { vectors, threshold, judge: report.run.reportedJudge });
  const ways = headline === undefined ? undefined : storedCauses(store, headline.name);
  return {
    report,
    manifest,
    config,
    headline,
    evaluations,
    responses: evaluated?.responses ?? config.evaluation.responses,
    curves: report.stages
      .filter(({ name }) => !stages.has(name) || stages.get(name).knowsTarget !== 'asks')
      .map(({ name }) => readLearningCurves(store, name))
      .filter(({ curves }) => curves.length > 0),
    evaluationMetrics: new Set(measured.map(({ name }) => name)),
    clusters,
    ways,
    wayNames: (ways?.ways ?? []).map(({ cause }) => labels.find('way', causeSha256(cause))?.value ?? null),
    wordingNames: (clusters?.clusters ?? []).map(({ members }) =>
      wordingName(
        labels,
        members.map((row) => evaluated?.attacks[row]?.text ?? ''),
      ),
    ),
    map: yield* mapAttacks(evaluations, vectors, clusters),
    vectors,
    measures: reported === undefined ? undefined : judgeMeasures(reported),
    coverage: coverageOf(report, config, taxonomy),
    events: store.events(),
  };
}
