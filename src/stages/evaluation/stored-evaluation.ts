import { FloodgateError } from '../../base/errors.ts';
import type { RunStore } from '../../runs/store/run-store.ts';
import { causesStage, evaluationStage } from '../../runs/store/stage-name.ts';
import type { Config } from '../config/config.ts';
import { stages, stagesToTrain } from '../registry.ts';
import type { Campaign } from '../stage.ts';
import { searchStageCauses } from './causes.ts';
import { causesPlan } from './causes-plan.ts';
import { evaluateStage } from './evaluate-stage.ts';
import { type EvaluationPlan, evaluationPlan } from './evaluation-plan.ts';

/** Changes of the config's `evaluation` for one measurement. */
export interface EvaluationRequest extends Partial<EvaluationPlan> {
  /** Discard what is stored where it does not fit. Without it, such a request is refused. */
  readonly replace?: boolean;
}

/** A run as a check of a request reads it. */
interface CheckedRun {
  readonly run: string;
  readonly store: RunStore;
  readonly config: Config;
}

function isStageDone(store: RunStore, name: string): boolean {
  return store.stages().some((row) => row.name === name && row.status === 'done');
}

/** True when a smoothing stage had no attack to learn from and so left no attacker to measure. */
export function leftNoAttacker(store: RunStore, name: string): boolean {
  return store.events().some(({ stage, code }) => stage === name && code === 'nothing-collected');
}

/** The first stage that must be trained before the attacker of `name` can be measured; undefined when none is missing. */
function missingStage(store: RunStore, name: string): string | undefined {
  return stagesToTrain([name]).find((stage) => stage.run !== undefined && !isStageDone(store, stage.name))?.name;
}

/** Stages whose attackers can be measured now, in the order of training. */
export function measurableStages(store: RunStore, config: Config): string[] {
  return stages
    .all()
    .filter((stage) => (stage.check?.(config, true) ?? []).length === 0)
    .map(({ name }) => name)
    .filter((name) => missingStage(store, name) === undefined && !leftNoAttacker(store, name));
}

/** @throws FloodgateError `usage` naming the stages that can be measured, and how to get the other one. */
function checkMeasurable({ run, store, config }: CheckedRun, name: string): void {
  const [problem] = stages.get(name).check?.(config, true) ?? [];
  const missing = missingStage(store, name);
  const reason =
    problem?.message ??
    (missing === undefined
      ? leftNoAttacker(store, name) && `stage ${name} left no attacker, because it had nothing to learn from`
      : `stage ${missing} is not trained in this run`);
  if (reason === false) return;
  const known = measurableStages(store, config);
  const isPlanned = missing !== undefined && stagesToTrain(config.attackers).some((stage) => stage.name === missing);
  const hint = isPlanned
    ? `floodgate resume ${run} trains it`
    : `a new run with attackers: [${[...config.attackers, name].join(', ')}] trains it`;
  throw new FloodgateError(
    'usage',
    `evaluate ${run}: ${reason}, got ${name}, expected ${known.length === 0 ? 'a trained stage' : `one of ${known.join(', ')}`}`,
    problem === undefined && missing !== undefined ? { hint } : {},
  );
}

const planKey = (stage: string): string => `evaluation plan of ${stage}`;

/** The plan of a stage's stored evaluation: the config's, unless a request changed it. */
function storedPlan(store: RunStore, config: Config, stage: string): EvaluationPlan {
  const text = store.info(planKey(stage));
  return text === undefined ? evaluationPlan(config) : (JSON.parse(text) as EvaluationPlan);
}

type Change = 'none' | 'add' | 'replace';

/** The plan that a request makes, and what it does to the attacks that are stored. */
function changeOf(
  { store, config }: Pick<CheckedRun, 'store' | 'config'>,
  stage: string,
  { replace = false, ...request }: EvaluationRequest,
): {
  readonly plan: EvaluationPlan;
  readonly change: Change;
  readonly attacks: number;
  readonly before: EvaluationPlan;
} {
  const before = storedPlan(store, config, stage);
  const name = evaluationStage(stage);
  const attacks = store.attacks({ stage: name }).length;
  const plan = { ...evaluationPlan(config), ...request };
  const isAlike = (['responses', 'temperature', 'seed'] as const).every((key) => plan[key] === before[key]);
  if (attacks === 0) return { plan, change: 'add', attacks, before };
  if (replace || !isAlike || plan.attacks < attacks) return { plan, change: 'replace', attacks, before };
  const isWhole = plan.attacks === attacks && isStageDone(store, name);
  return { plan, change: isWhole ? 'none' : 'add', attacks, before };
}

const planText = ({ attacks, responses, temperature, seed }: EvaluationPlan): string =>
  `${attacks} attacks (responses ${responses}, temperature ${temperature}, seed ${seed})`;

/**
 * Checks a request to measure a stage, and writes nothing.
 * @throws FloodgateError `usage` for a stage without an attacker; for stored attacks that only `replace` may discard.
 */
export function checkEvaluation(run: CheckedRun, stage: string, request: EvaluationRequest): void {
  checkMeasurable(run, stage);
  const { plan, change, attacks, before } = changeOf(run, stage, request);
  if (change !== 'replace' || request.replace === true) return;
  const stored = planText({ ...before, attacks });
  throw new FloodgateError(
    'usage',
    `evaluate ${run.run}: ${stage} is measured already, by ${stored}, got ${planText(plan)}, expected the same ` +
      'settings and no fewer attacks',
    { hint: '--replace discards the stored attacks; a larger --attacks alone adds to them' },
  );
}

/** Measures a stage as a request asks that `checkEvaluation` let pass. */
export async function evaluateAgain(campaign: Campaign, stage: string, request: EvaluationRequest): Promise<void> {
  const { store, io } = campaign;
  const { plan, change, attacks } = changeOf(campaign, stage, request);
  const name = evaluationStage(stage);
  if (change === 'replace') store.truncateAfter(name, -1);
  if (change === 'none') io.progress.say?.(`${name}: ${attacks} attacks are stored already; nothing was asked`);
  else {
    beginCauses(campaign, stage, change === 'replace');
    store.setInfo(planKey(stage), JSON.stringify(plan));
    await evaluateStage(campaign, stage, plan);
  }
  await finishCauses(campaign, stage, plan);
}

/** Measures what is not measured yet of a stage, by the plan that was begun, else by the config's. */
export async function finishEvaluation(campaign: Campaign, stage: string): Promise<void> {
  const { store, config } = campaign;
  const plan = storedPlan(store, config, stage);
  if (!isStageDone(store, evaluationStage(stage))) {
    beginCauses(campaign, stage, false);
    await evaluateStage(campaign, stage, plan);
  }
  await finishCauses(campaign, stage, plan);
}

/** Stages outside the config's attackers whose evaluation was begun, is not done, and can be finished. */
export function begunEvaluations(store: RunStore, config: Config): string[] {
  const rows = store.stages();
  return measurableStages(store, config).filter(
    (name) =>
      !config.attackers.includes(name) &&
      rows.some((row) => row.name === evaluationStage(name) && row.status !== 'done'),
  );
}

/** Begins the search for a stage's causes, so that a resume knows of it. Stored answers are kept unless `isNew`. */
function beginCauses({ store, config }: Campaign, stage: string, isNew: boolean): void {
  const { clusters, asks } = causesPlan(config);
  if (clusters === 0) return;
  store.beginStage(causesStage(stage), clusters * asks);
  if (isNew) store.truncateAfter(causesStage(stage), -1);
}

/** Searches for the causes of an evaluated stage where that was begun: a run of an earlier version is left as it is. */
async function finishCauses(campaign: Campaign, stage: string, evaluation: EvaluationPlan): Promise<void> {
  const row = campaign.store.stages().find(({ name }) => name === causesStage(stage));
  if (row === undefined || row.status === 'done') return;
  await searchStageCauses(campaign, stage, { causes: causesPlan(campaign.config), evaluation });
}
