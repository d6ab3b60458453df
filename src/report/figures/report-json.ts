import { z } from 'zod';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { causeWords } from '../../metrics/causes.ts';
import { countingJudge, type Manifest } from '../../runs/manifest.ts';
import { type Labels, NO_LABELS } from '../../runs/store/labels.ts';
import type { StoreQueries } from '../../runs/store/queries.ts';
import type { CostRecord, StageStatus, StoredMetric } from '../../runs/store/records.ts';
import {
  CONTROL_STAGE,
  causesOf,
  causesStage,
  evaluatedStage,
  evaluationStage,
  isAside,
  transferCellOf,
} from '../../runs/store/stage-name.ts';
import { WAYS_DISCOVERY } from '../../stages/evaluation/causes.ts';
import { causesSchema, storedCauses, waySchema } from '../../stages/evaluation/causes-record.ts';
import { isOfOneCell, storedCells } from '../../stages/evaluation/cell-metrics.ts';
import { CONTROL_ASR, OVER_REFUSAL } from '../../stages/evaluation/controls.ts';
import { DISCOVERY_METRIC } from '../../stages/evaluation/unseen-metrics.ts';
import { correctedAttacker } from '../../studies/calibration/corrected-rates.ts';
import { storedErrors } from '../../studies/calibration/kept-errors.ts';
import { createLabelErrors } from '../../studies/calibration/labelled-answers.ts';
import { robustnessSchema, storedRobustness } from '../../studies/robustness/robustness-file.ts';
import { cost, measure, metrics, toMeasure, toMeasures } from './report-measures.ts';
import { buildTransfer, transferSchema } from './transfer-report.ts';

/** Increased when a reader of the older form would misread the newer one. */
export const REPORT_VERSION = 1;

const judge = z.strictObject({
  name: z.string(),
  role: z.enum(['training', 'evaluation', 'training and evaluation']),
  /** True for the judge whose figures are the stage's own `metrics`. */
  reported: z.boolean(),
  metrics,
  /** Share of unsafe answers and attack success rate, corrected for the judge's errors; absent where those are not known. */
  corrected: z
    .strictObject({
      threshold: z.number(),
      /** Share of answers that the judge calls unsafe. */
      raw: measure,
      corrected: measure,
      /** Attack success rate that a judge without errors would find. */
      correctedAsr: measure,
      /** False when errors as measured cannot explain the raw share. */
      isPlausible: z.boolean(),
      sensitivity: z.strictObject({ hits: z.number(), n: z.number() }),
      specificity: z.strictObject({ hits: z.number(), n: z.number() }),
      /** Where the errors were measured on answers of this run that readers labelled; absent for a file of examples. */
      from: z.literal('labels').optional(),
    })
    .optional(),
});

const discovery = z.array(
  z.strictObject({
    targetCalls: z.number(),
    value: z.number().nullable(),
    low: z.number().nullable(),
    high: z.number().nullable(),
    method: z.string(),
  }),
);

/** One way without its texts: the report holds no text of an attack. */
const way = waySchema.omit({ cause: true, example: true, variants: true }).extend({
  /** Words of the cause. */
  words: z.number(),
});

const stage = z.strictObject({
  name: z.string(),
  status: z.enum(['running', 'done', 'failed', 'interrupted']),
  metrics,
  judges: z.array(judge),
  /** The categories of the config (`attacker.cells`), by the reported judge; absent for a run without any. */
  cells: z
    .array(z.strictObject({ name: z.string(), tried: z.number(), asr: measure, wordings: z.number() }))
    .optional(),
  /** Wordings expected after so many target calls, by the reported judge; empty where that was not estimated. */
  discovery,
  /** The ways of success by their causes, with their own figures and cost; absent where they were not looked for. */
  causes: causesSchema.extend({ ways: z.array(way), metrics, discovery, cost }).optional(),
  cost,
  /** Of the stage's evaluation; not part of `cost`. */
  evaluationCost: cost,
  /** Discarded by a resume and done again; part of neither. */
  repeatedCost: cost,
});

export const reportSchema = z.strictObject({
  schemaVersion: z.literal(REPORT_VERSION),
  run: z.strictObject({
    name: z.string(),
    status: z.string(),
    createdAt: z.string(),
    authorisation: z.string(),
    seed: z.number(),
    configSha256: z.string(),
    trainingJudge: z.string(),
    reportedJudge: z.string(),
    /** False when the only judge also gave the reward: then no figure here is independent evidence. */
    isJudgeIndependent: z.boolean(),
    models: z.array(z.strictObject({ role: z.string(), spec: z.string(), sha256: z.string() })),
  }),
  /** Harmless prompts, sent to the target before any training; absent where none were. */
  controls: z
    .strictObject({
      prompts: z.number(),
      judges: z.array(z.strictObject({ name: z.string(), asr: measure })),
      /** Share of them that the target refused; absent where refusals cannot be told. */
      overRefusal: measure.optional(),
      cost,
    })
    .optional(),
  stages: z.array(stage),
  /** Stored attacks, sent to further targets; absent where none were. */
  transfer: transferSchema.optional(),
  /** Attackers against tuned versions of the target; absent where that was not measured. */
  robustness: robustnessSchema.optional(),
});

export type Report = z.infer<typeof reportSchema>;
export type ReportStage = z.infer<typeof stage>;

export interface ReportSource {
  readonly store: StoreQueries;
  readonly manifest: Manifest;
  readonly status: string;
  /** Default: none. */
  readonly labels?: Labels;
}

/** The attacker that a stage measures: by its evaluation, or by the causes of its successes. */
function attackerOf(name: string): string | undefined {
  return evaluatedStage(name) ?? causesOf(name);
}

function sumRepeated(store: StoreQueries, name: string): CostRecord {
  const total = { targetCalls: 0, judgeCalls: 0, tokens: 0, seconds: 0 };
  for (const repeated of store.repeatedCalls()) {
    if (repeated.stage !== name && attackerOf(repeated.stage) !== name) continue;
    total.targetCalls += repeated.targetCalls;
    total.judgeCalls += repeated.judgeCalls;
    total.tokens += repeated.tokens;
    total.seconds += repeated.seconds;
  }
  return total;
}

function judgeRole(name: string, { training, evaluation }: Manifest['judges']): z.infer<typeof judge>['role'] {
  if (name !== training) return 'evaluation';
  return evaluation.includes(name) ? 'training and evaluation' : 'training';
}

type ErrorsOf = ReturnType<typeof createErrorsOf>;

function buildStage(
  { store, manifest, errorsOf }: ReportSource & { readonly errorsOf: ErrorsOf },
  name: string,
  status: StageStatus,
): ReportStage {
  // The evaluation's figures come last: they replace those of training of the same name.
  const all = [...store.metrics(name), ...store.metrics(evaluationStage(name))];
  const stored = all.filter((metric) => !isOfOneCell(metric));
  const reported = countingJudge(manifest.judges);
  const names = [...new Set(stored.flatMap((metric) => (metric.judge === undefined ? [] : [metric.judge])))];
  return {
    name,
    status,
    metrics: toMeasures(stored.filter((metric) => metric.judge === undefined || metric.judge === reported)),
    judges: names.map((judgeName) => ({
      name: judgeName,
      role: judgeRole(judgeName, manifest.judges),
      reported: judgeName === reported,
      metrics: toMeasures(stored.filter((metric) => metric.judge === judgeName)),
      ...buildCorrected(store, name, { judgeName, errorsOf }),
    })),
    ...buildCells(all.filter((metric) => metric.judge === reported)),
    discovery: discoveryOf(
      store.metrics(evaluationStage(name), DISCOVERY_METRIC).filter((metric) => metric.judge === reported),
    ),
    ...buildCauses(store, name),
    cost: store.cost(name),
    evaluationCost: store.cost(evaluationStage(name)),
    repeatedCost: sumRepeated(store, name),
  };
}

/** The errors of each judge: those that the run keeps, else those on answers that readers labelled. */
function createErrorsOf(store: StoreQueries, labels: Labels) {
  const kept = storedErrors(store);
  const fromLabels = createLabelErrors(store, labels);
  const labelled = new Map<string, ReturnType<typeof fromLabels>>();
  return (judgeName: string) => {
    const known = kept.find((each) => each.judge === judgeName);
    if (known !== undefined) return { decision: known, from: undefined };
    if (!labelled.has(judgeName)) labelled.set(judgeName, fromLabels(judgeName));
    const decision = labelled.get(judgeName);
    return decision === undefined ? undefined : { decision, from: 'labels' as const };
  };
}

/** The shares of an evaluated attacker by a judge whose errors are known. */
function buildCorrected(
  store: StoreQueries,
  attacker: string,
  { judgeName, errorsOf }: { readonly judgeName: string; readonly errorsOf: ErrorsOf },
) {
  const known = errorsOf(judgeName);
  if (known === undefined) return {};
  const { decision, from } = known;
  const found = correctedAttacker(store, attacker, { judge: judgeName, asRun: decision, chosen: null });
  if (found === undefined) return {};
  return { corrected: { ...found.asRun, ...decision.errors, ...(from === undefined ? {} : { from }) } };
}

function buildCells(stored: readonly StoredMetric[]): Pick<ReportStage, 'cells'> {
  const cells = storedCells(stored).map(({ asr, ...cell }) => ({ ...cell, asr: toMeasure(asr) }));
  return cells.length === 0 ? {} : { cells };
}

function discoveryOf(points: readonly StoredMetric[]): z.infer<typeof discovery> {
  return points.map(({ n, value, low, high, method = '' }) => ({ targetCalls: n, value, low, high, method }));
}

function buildCauses(store: StoreQueries, name: string): Pick<ReportStage, 'causes'> {
  const causes = storedCauses(store, name);
  if (causes === undefined) return {};
  const measured = store.metrics(causesStage(name));
  return {
    causes: {
      ...causes,
      ways: causes.ways.map(({ cause, example, variants, ...figures }) => ({
        ...figures,
        words: causeWords(cause).length,
      })),
      metrics: toMeasures(measured),
      discovery: discoveryOf(measured.filter((metric) => metric.name === WAYS_DISCOVERY)),
      cost: store.cost(causesStage(name)),
    },
  };
}

/** Undefined while the target has not been asked the prompts. */
function buildControls(store: StoreQueries): Report['controls'] {
  const measured = store.metrics(CONTROL_STAGE, CONTROL_ASR);
  if (measured.length === 0) return undefined;
  const [refusals] = store.metrics(CONTROL_STAGE, OVER_REFUSAL);
  return {
    prompts: store.attacks({ stage: CONTROL_STAGE }).length,
    judges: measured.map((metric) => ({ name: metric.judge ?? '', asr: toMeasure(metric) })),
    ...(refusals === undefined ? {} : { overRefusal: toMeasure(refusals) }),
    cost: store.cost(CONTROL_STAGE),
  };
}

/** Returns the report of a run from its present database, checked against its own schema. */
export function buildReport(source: ReportSource): Report {
  const { store, manifest, labels = NO_LABELS } = source;
  const reportedJudge = countingJudge(manifest.judges);
  const errorsOf = createErrorsOf(store, labels);
  // A stage that is not trained has an evaluation only.
  const stages = new Map<string, StageStatus>();
  for (const { name, status } of store.stages()) {
    if (isAside(name) || transferCellOf(name) !== undefined) continue;
    const attacker = evaluatedStage(name) ?? name;
    if (attacker === name || !stages.has(attacker)) stages.set(attacker, status);
  }
  const transfer = buildTransfer(store, reportedJudge);
  const robustness = storedRobustness(store);
  const controls = buildControls(store);
  return reportSchema.parse({
    schemaVersion: REPORT_VERSION,
    run: {
      name: manifest.run,
      status: source.status,
      createdAt: manifest.createdAt,
      authorisation: manifest.authorisation,
      seed: manifest.seed,
      configSha256: manifest.configSha256,
      trainingJudge: manifest.judges.training,
      reportedJudge,
      isJudgeIndependent: reportedJudge !== manifest.judges.training,
      models: manifest.models.map(({ role, spec, sha256 }) => ({ role, spec, sha256 })),
    },
    ...(controls === undefined ? {} : { controls }),
    stages: [...stages].map(([name, status]) => buildStage({ ...source, errorsOf }, name, status)),
    ...(transfer === undefined ? {} : { transfer }),
    ...(robustness === undefined ? {} : { robustness }),
  });
}

/** @throws FloodgateError `store` when the disk refuses. */
export async function writeReport(path: string, report: Report): Promise<void> {
  await writeFileAtomically(path, (file) => file.writeFile(`${JSON.stringify(report, null, 2)}\n`));
}
