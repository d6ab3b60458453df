import path from 'node:path';
import { type ComputeOptions, defaultThreads } from '../../engine/runtime/device.ts';
import type { Judge } from '../../judges/judge.ts';
import { createMaskedJudge } from '../../judges/mask-attack-words.ts';
import type { Attacker } from '../../learning/attacker.ts';
import type { LoopControl } from '../../learning/loops/update-loop.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import type { Divergence } from '../../models/decoder/divergence.ts';
import type { SentenceEncoder } from '../../models/encoder/text-encoder.ts';
import { createOpenModels } from '../../models/open-models.ts';
import type { ModelEntry } from '../../runs/manifest.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import type { RunStore } from '../../runs/store/run-store.ts';
import type { Target } from '../../targets/target.ts';
import type { JudgeSeat } from '../../trial/try-attacks.ts';
import type { World } from '../../worlds/world.ts';
import type { AttackerName } from '../config/attacker-names.ts';
import type { Config } from '../config/config-schema.ts';
import type { SeedSet } from '../config/seeds.ts';
import type { CampaignIo } from './campaign-io.ts';
import { openRunDecoder, openRunEncoder, openRunJudge } from './open-run-models.ts';
import { openRunTarget } from './open-run-target.ts';
import { openRunAttacker } from './run-attacker.ts';
import { createStageAttackers } from './stage-attackers.ts';

/** Everything a stage works with, open. */
export interface Campaign {
  readonly folder: RunFolder;
  readonly config: Config;
  readonly store: RunStore;
  readonly io: CampaignIo;
  readonly seeds: SeedSet;
  /** The made world that the run is in; undefined for a run on real models. */
  readonly world: World | undefined;
  readonly compute: ComputeOptions;
  readonly attackerModel: DecoderCheckpoint;
  /** The attacker of SFT and of every stage that trains the same weights. */
  readonly attacker: Attacker;
  /** The attacker of a stage: `attacker`, but for a smoothing stage that trains every weight. Open as long as the campaign. */
  attackerOf(stage: AttackerName): Promise<Attacker>;
  /** Asked while attackers learn. */
  readonly target: Target;
  /** Asked by evaluations: in fp32 whatever training is done against. */
  readonly evaluationTarget: Target;
  /** The model behind the target; undefined for a script. */
  readonly targetModel: DecoderCheckpoint | undefined;
  /** How far a training target in int8 is from itself in fp32; undefined in fp32. */
  readonly targetInt8: Divergence | undefined;
  readonly encoder: SentenceEncoder;
  /** The judge that rewards. */
  readonly trainingJudge: Judge;
  readonly evaluationJudges: readonly Judge[];
  readonly models: readonly ModelEntry[];
  close(): Promise<void>;
}

/**
 * Opens every model of a run: attacker, target, judges, encoder. Whatever was opened is closed again when a later part fails.
 *
 * @throws FloodgateError `source`, `format`, `model`, `judge`, `runtime` as the part at fault says.
 */
export async function openCampaign(
  parts: Pick<Campaign, 'folder' | 'config' | 'store' | 'seeds' | 'world'>,
  io: CampaignIo,
): Promise<Campaign> {
  const { config, world } = parts;
  const threads = config.threads ?? defaultThreads();
  const models = createOpenModels({ threads, ...io });
  const closers: (() => Promise<unknown>)[] = [];
  const keep = <T extends { close(): Promise<unknown> }>(opened: T): T => {
    closers.unshift(() => opened.close());
    return opened;
  };
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0)) await closer();
  };
  try {
    const attackerModel = await openRunDecoder(models, config.attacker.model, 'attacker', world);
    const compute: ComputeOptions = { device: config.attacker.device, threads };
    const attacker = keep(await openRunAttacker(config, attackerModel, compute));
    const stageAttackers = keep(
      createStageAttackers({ folder: parts.folder, config, model: attackerModel, compute }, attacker),
    );
    const seedTexts = parts.seeds.attacks;
    const target = keep(await openRunTarget(config, models, { attackerModel, world, threads, seeds: seedTexts }));
    const trainingJudge = keep(await openRunJudge(config.judges.training, models, world));
    const evaluationJudges: Judge[] = [];
    for (const judge of config.judges.evaluation) evaluationJudges.push(keep(await openRunJudge(judge, models, world)));
    const { encoder, entry } = await openRunEncoder(config, models);
    keep(encoder);
    return {
      ...parts,
      io,
      compute,
      attackerModel,
      attacker,
      attackerOf: stageAttackers.attackerOf,
      target: target.training,
      evaluationTarget: target.evaluation,
      targetModel: target.model,
      targetInt8: target.int8,
      encoder,
      trainingJudge,
      evaluationJudges,
      models: [
        { role: 'attacker', spec: attackerModel.spec, sha256: attackerModel.sha256 },
        ...target.entries,
        { role: 'encoder', ...entry },
      ],
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** How the loops of a stage are watched, saved and stopped. */
export function loopControl({ folder, io }: Campaign, stage: string, checkpointEveryUpdates: number): LoopControl {
  return {
    checkpoints: { folder: folder.checkpointsPath, stage },
    checkpointEveryUpdates,
    progress: io.progress,
    signal: io.signal,
  };
}

/** The judge that gives the reward, alone. */
export function rewardSeats({ trainingJudge }: Campaign): JudgeSeat[] {
  return [{ judge: trainingJudge, masked: false, name: trainingJudge.name }];
}

/** Every judge, each also with the attack's own words masked from the response; each name once. */
export function evaluationSeats({ trainingJudge, evaluationJudges }: Campaign): JudgeSeat[] {
  const judges = new Map([...evaluationJudges, trainingJudge].map((judge) => [judge.name, judge]));
  return [...judges].flatMap(([name, judge]): JudgeSeat[] => [
    { judge, masked: false, name },
    { judge: createMaskedJudge(judge), masked: true, name },
  ]);
}

/** Path of a file among the run's checkpoints. */
export function checkpointFile(folder: RunFolder, name: string): string {
  return path.join(folder.checkpointsPath, name);
}
