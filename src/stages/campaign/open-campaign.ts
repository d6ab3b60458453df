import { FloodgateError } from '../../base/errors.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import type { Judge, JudgeConfig } from '../../judges/judge.ts';
import { type NamedJudge, refuseSharedNames } from '../../judges/judge-names.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import { identityOfCheckpoint, type ModelIdentity } from '../../models/model-identity.ts';
import type { ModelEntry } from '../../runs/manifest.ts';
import { planTarget } from '../../targets/registry.ts';
import type { OpenTarget, PlannedTarget } from '../../targets/target-kind.ts';
import { requireAnswers, wantsRehearsal } from '../../trial/target-rehearsal.ts';
import { type KnownWorld, madeWorld } from '../../worlds/world-registry.ts';
import type { Config } from '../config/config.ts';
import { stages } from '../registry.ts';
import type { Campaign, CampaignIo } from '../stage.ts';
import { restText } from './plan-run.ts';
import { createStageAttackers, openRunAttacker } from './run-attacker.ts';
import { openRunCalls } from './run-calls.ts';
import { openRunModels, type RunModels, repacks } from './run-models.ts';
import { withSearches } from './run-searches.ts';
import { openRunWorkers } from './run-workers.ts';

/** The target of training, and the target of evaluations. */
interface RunTarget {
  readonly training: OpenTarget;
  /** The same object where the two are the same. */
  readonly evaluation: OpenTarget;
}

async function openRunTarget(planned: PlannedTarget, seeds: readonly string[]): Promise<RunTarget> {
  const evaluation = await (planned.evaluatedAs ?? planned).open(seeds);
  if (planned.evaluatedAs === undefined) return { training: evaluation, evaluation };
  try {
    return { training: await planned.open(seeds), evaluation };
  } catch (error) {
    await evaluation.close();
    throw error;
  }
}

/**
 * Asks the target of a new run three harmless prompts, before the run has a folder. A resumed run has passed this check.
 * @throws FloodgateError `target` when the answers are no assistant's; otherwise as `planTarget`.
 */
export async function rehearseRun(config: Config, io: CampaignIo, world: KnownWorld | undefined): Promise<void> {
  if (!wantsRehearsal(config.target)) return;
  const workers = await openRunWorkers(config, io);
  try {
    const planned = workers?.planned ?? (await planTarget(config.target, openRunModels(config, io, world).host));
    const { target, close } = await (planned.evaluatedAs ?? planned).open([]);
    try {
      await requireAnswers(target, config.target, io.signal);
    } finally {
      await close();
    }
  } finally {
    await workers?.close();
  }
}

function targetEntry(identity: ModelIdentity, sha256: string | null): ModelEntry {
  return { role: 'target', ...identity, sha256: sha256 ?? identity.sha256 };
}

/** Whether a model behind a server or a program has changed cannot be known: its weights have no hash here. */
const REMOTE_SHA256 = 'not known: it is not in this process';

/** The target's entry in the manifest; none for a target without a model, such as fixed rules. */
function targetEntries({ checkpoint, model, facts, hosts }: OpenTarget): ModelEntry[] {
  const identity = checkpoint === undefined ? model : identityOfCheckpoint(checkpoint);
  if (identity !== undefined) return [targetEntry(identity, facts.sha256)];
  if (hosts === undefined) return [];
  const place = hosts.length === 0 ? '' : ` at ${hosts.join(', ')}`;
  return [{ role: 'target', spec: `${facts.model}${place}`, sha256: facts.sha256 ?? REMOTE_SHA256 }];
}

/** Tells a run once what its readers must know of a target behind a server or a program. */
function recordTargetWarnings({ store }: Pick<Campaign, 'store'>, { facts, hosts }: OpenTarget): void {
  if (hosts === undefined || facts.warnings.length === 0) return;
  const known = new Set(store.events().map(({ message }) => message));
  for (const warning of facts.warnings) {
    const message = `target ${facts.model}: ${warning}`;
    if (!known.has(message)) store.recordEvent({ level: 'warning', code: 'target', message });
  }
}

/** The models of judges under one role each: `judge:NAME`, and `judge:NAME model 2` where a judge has several. */
function judgeEntries(judges: readonly Judge[]): ModelEntry[] {
  const byName = new Map(judges.map((judge) => [judge.name, judge]));
  return [...byName].flatMap(([name, { models = [] }]) =>
    models.map((model, i) => ({ role: `judge:${name}${i === 0 ? '' : ` model ${i + 1}`}`, ...model })),
  );
}

/** Every model of a run, as its manifest names it. */
function modelEntries(opened: {
  readonly attackerModel: DecoderCheckpoint;
  readonly evaluation: OpenTarget;
  readonly encoder: ModelIdentity;
  readonly judges: readonly Judge[];
}): ModelEntry[] {
  return [
    { role: 'attacker', ...identityOfCheckpoint(opened.attackerModel) },
    ...targetEntries(opened.evaluation),
    { role: 'encoder', ...opened.encoder },
    ...judgeEntries(opened.judges),
  ];
}

/** `judges`: the training judge, then those of the evaluation. */
function namedJudges({ training, evaluation }: Config['judges'], judges: readonly Judge[]): NamedJudge[] {
  return [training, ...evaluation].map((config, i) => ({ name: judges[i]?.name, config }));
}

/** The model behind the target of a world of words, whose truth is computed in this process; nothing is opened. */
async function worldTargetModel({ config, host, world }: RunModels): Promise<DecoderCheckpoint | undefined> {
  if (madeWorld(world) === undefined) return undefined;
  return (await planTarget(config.target, host)).model?.checkpoint;
}

/** Models are large: a stop between two of them is heard before the next is opened. */
function requireGoing(signal: AbortSignal): void {
  if (signal.aborted) throw new FloodgateError('interrupted', 'open models: interrupted, nothing was started');
}

/**
 * Opens every model of a run: attacker, target, judges, encoder. When a later part fails, everything already open is
 * closed.
 *
 * @throws FloodgateError `source`, `format`, `model`, `judge`, `runtime` from the part at fault; `config` when two
 * judges with different settings have one name.
 */
export async function openCampaign(
  parts: Pick<Campaign, 'folder' | 'config' | 'store' | 'seeds' | 'world'>,
  io: CampaignIo,
): Promise<Campaign> {
  const { folder, config, world } = parts;
  const models = openRunModels(config, io, world);
  const closers: (() => Promise<unknown>)[] = [];
  const keep = <T extends { close(): Promise<unknown> }>(opened: T): T => {
    closers.unshift(() => opened.close());
    requireGoing(io.signal);
    return opened;
  };
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0)) await closer();
  };
  try {
    const attackerModel = await models.openDecoder(config.attacker.model, 'attacker');
    requireGoing(io.signal);
    const { threads } = models;
    const compute: ComputeOptions = { device: config.attacker.device, threads, prepack: repacks(config) };
    const attacker = keep(await openRunAttacker(config, attackerModel, compute));
    const attackers = keep(
      createStageAttackers({ folder, config, model: attackerModel, compute, stage: stages.get }, attacker),
    );
    const workers = await openRunWorkers(config, io, { folder: folder.path, seeds: parts.seeds.attacks });
    if (workers !== undefined) keep(workers);
    const planned = workers?.planned ?? (await planTarget(config.target, models.host));
    const { training, evaluation } = await openRunTarget(planned, parts.seeds.attacks);
    keep(evaluation);
    recordTargetWarnings(parts, evaluation);
    if (training !== evaluation) keep(training);
    const calls = openRunCalls(parts, io, {
      targets: [config.target],
      areOnWorkers: workers !== undefined,
      rest: (spent) => restText(config, parts.seeds.attacks.length, spent),
    });
    closers.push(async () => calls.close()); // last: closing a target waits for calls under way, whose answers are kept
    const openJudge = async (judge: JudgeConfig) =>
      keep(calls.judge(await (workers ?? models).openJudge(judge), judge));
    const trainingJudge = await openJudge(config.judges.training);
    const evaluationJudges: Judge[] = [];
    for (const judge of config.judges.evaluation) evaluationJudges.push(await openJudge(judge));
    refuseSharedNames(namedJudges(config.judges, [trainingJudge, ...evaluationJudges]));
    const { encoder, entry } = await models.openEncoder();
    keep(encoder);
    const checkpoint = evaluation.checkpoint ?? (workers && (await worldTargetModel(models)));
    const campaign: Campaign = {
      ...parts,
      io: { ...io, signal: calls.signal, progress: calls.progress },
      budgetSpent: () => calls.spent,
      compute,
      attackerModel,
      attacker,
      attackerOf: attackers.attackerOf,
      target: calls.target(training.target, config.target, training.facts),
      evaluationTarget: calls.target(evaluation.target, config.target, evaluation.facts),
      targetModel: checkpoint,
      targetInt8: training.facts.divergence ?? undefined,
      encoder,
      trainingJudge,
      evaluationJudges,
      models: modelEntries({ attackerModel, evaluation, encoder: entry, judges: [trainingJudge, ...evaluationJudges] }),
      stage: stages.get,
      close,
    };
    return workers === undefined ? campaign : withSearches(campaign, workers.searching, calls);
  } catch (error) {
    await close();
    throw error;
  }
}
