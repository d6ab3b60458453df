import type { ComputeOptions } from '../../engine/runtime/device.ts';
import type { Judge } from '../../judges/judge.ts';
import { planTarget } from '../../targets/registry.ts';
import type { OpenTarget } from '../../targets/target-kind.ts';
import { stages } from '../registry.ts';
import type { Campaign, CampaignIo } from '../stage.ts';
import { createStageAttackers, openRunAttacker } from './run-attacker.ts';
import { openRunModels, type RunModels } from './run-models.ts';

/** The target of training, and the target of evaluations. */
interface RunTarget {
  readonly training: OpenTarget;
  /** The same object where the two are the same. */
  readonly evaluation: OpenTarget;
}

async function openRunTarget({ config, host }: RunModels, seeds: readonly string[]): Promise<RunTarget> {
  const planned = await planTarget(config.target, host);
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
 * Opens every model of a run: attacker, target, judges, encoder. When a later part fails, everything already open is
 * closed.
 *
 * @throws FloodgateError `source`, `format`, `model`, `judge`, `runtime` from the part at fault.
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
    return opened;
  };
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0)) await closer();
  };
  try {
    const attackerModel = await models.openDecoder(config.attacker.model, 'attacker');
    const compute: ComputeOptions = { device: config.attacker.device, threads: models.threads };
    const attacker = keep(await openRunAttacker(config, attackerModel, compute));
    const stage = stages.get;
    const attackers = keep(createStageAttackers({ folder, config, model: attackerModel, compute, stage }, attacker));
    const { training, evaluation } = await openRunTarget(models, parts.seeds.attacks);
    keep(evaluation);
    if (training !== evaluation) keep(training);
    const trainingJudge = keep(await models.openJudge(config.judges.training));
    const evaluationJudges: Judge[] = [];
    for (const judge of config.judges.evaluation) evaluationJudges.push(keep(await models.openJudge(judge)));
    const { encoder, entry } = await models.openEncoder();
    keep(encoder);
    const { checkpoint } = evaluation;
    return {
      ...parts,
      io,
      compute,
      attackerModel,
      attacker,
      attackerOf: attackers.attackerOf,
      target: training.target,
      evaluationTarget: evaluation.target,
      targetModel: checkpoint,
      targetInt8: training.facts.divergence ?? undefined,
      encoder,
      trainingJudge,
      evaluationJudges,
      models: [
        { role: 'attacker', spec: attackerModel.spec, sha256: attackerModel.sha256 },
        ...(checkpoint === undefined
          ? []
          : [{ role: 'target', spec: checkpoint.spec, sha256: evaluation.facts.sha256 ?? checkpoint.sha256 }]),
        { role: 'encoder', ...entry },
      ],
      stage,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
