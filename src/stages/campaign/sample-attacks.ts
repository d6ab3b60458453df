import { FloodgateError } from '../../base/errors.ts';
import { append } from '../../base/long-lists.ts';
import { type RandomStream, randomStream } from '../../base/random.ts';
import { cellInTurn } from '../../learning/attacker.ts';
import type { AttackerFolder } from '../../runs/attacker-folder.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import type { RunStore } from '../../runs/store/run-store.ts';
import { openStageAttacker, type StageAttacker } from '../checkpoints.ts';
import type { Config } from '../config/config.ts';
import { leftNoAttacker } from '../evaluation/stored-evaluation.ts';
import { stages } from '../registry.ts';
import { type CampaignIo, leavesPolicy } from '../stage.ts';
import { loadRunConfig } from './config-load.ts';
import { openExportedAttacker } from './exported-attacker.ts';
import { createStageAttackers, openRunAttacker } from './run-attacker.ts';
import { openConfigModels, repacks } from './run-models.ts';

export interface SamplePlan {
  readonly stage: string;
  readonly count: number;
  readonly temperature: number;
  readonly seed: number | undefined;
}

export interface WrittenAttack {
  readonly text: string;
  /** The cells take turns; absent for an attacker without cells. */
  readonly cell?: string;
  /** log pi at temperature 1, nats. */
  readonly logPi: number;
  readonly tokens: number;
}

const ROWS = 64;

/** The trained attacker of a run's stage, ready to write; close it when done. */
export interface TrainedAttacker extends StageAttacker {
  readonly config: Config;
  close(): Promise<void>;
}

/**
 * Opens the attacker that a run's stage has left.
 * @throws FloodgateError `run` when the stage has left no attacker.
 */
export async function openTrainedAttacker(folder: RunFolder, stage: string, io: CampaignIo): Promise<TrainedAttacker> {
  if (stages.has(stage) && !leavesPolicy(stages.get(stage))) throw withoutPolicy(folder, stage);
  const config = await loadRunConfig(folder);
  const models = await openConfigModels(config, io);
  const model = await models.openDecoder(config.attacker.model, 'attacker');
  const compute = { device: config.attacker.device, threads: models.threads, prepack: repacks(config) };
  const base = await openRunAttacker(config, model, compute);
  const attackers = createStageAttackers({ folder, config, model, compute, stage: stages.get }, base);
  const close = async (): Promise<void> => {
    await attackers.close();
    await base.close();
  };
  try {
    const { attackerOf } = attackers;
    return { ...(await openStageAttacker({ folder, attackerOf }, stage)), config, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function withoutPolicy({ name }: RunFolder, stage: string): FloodgateError {
  return new FloodgateError('run', `run ${name}: stage ${stage} leaves no attacker of its own`, {
    hint: 'name another with --stage; without it the last trained one is taken',
  });
}

/** The random stream of the i-th attack that is written with a seed. */
export function sampleStream(seed: number, i: number): RandomStream {
  return randomStream(seed, 'sample', i);
}

/**
 * Attacks written by the trained attacker of a run's stage; no target receives them.
 * @throws FloodgateError `run` when the stage has left no attacker; `interrupted` on abort.
 */
export async function sampleAttacks(folder: RunFolder, plan: SamplePlan, io: CampaignIo): Promise<WrittenAttack[]> {
  const opened = await openTrainedAttacker(folder, plan.stage, io);
  return writeAttacks(opened, { ...plan, seed: plan.seed ?? opened.config.seed }, io);
}

/**
 * Attacks written by the attacker of a folder, exported or imported: those of its run with the same seed.
 * @throws FloodgateError as `openExportedAttacker`; `interrupted` on abort.
 */
export async function sampleExportedAttacks(
  folder: AttackerFolder,
  plan: Omit<SamplePlan, 'stage'> & { readonly seed: number },
  io: CampaignIo,
): Promise<WrittenAttack[]> {
  return writeAttacks(await openExportedAttacker(folder, io), plan, io);
}

/** Closes the attacker when done. */
async function writeAttacks(
  { attacker, state, close }: StageAttacker & { close(): Promise<void> },
  { count, temperature, seed }: Omit<SamplePlan, 'stage'> & { readonly seed: number },
  io: CampaignIo,
): Promise<WrittenAttack[]> {
  try {
    const requests = Array.from({ length: count }, (_, i) => ({
      stream: sampleStream(seed, i),
      temperature,
      ...cellInTurn(attacker.cells, i),
    }));
    const written: WrittenAttack[] = [];
    for (let start = 0; start < count; start += ROWS) {
      const attacks = await attacker.sample(state, requests.slice(start, start + ROWS), io.signal);
      append(
        written,
        attacks.map(({ text, cell, logPi, tokens }) => {
          return { text, ...(cell === undefined ? {} : { cell }), logPi, tokens: tokens.length };
        }),
      );
    }
    return written;
  } finally {
    await close();
  }
}

/** The last stage, in the order of training, that has left a wanted attacker; undefined when none has. */
export function lastTrainedStage(
  store: RunStore,
  isWanted: (stage: string) => boolean = () => true,
): string | undefined {
  const done = store.stages().filter(({ status }) => status === 'done');
  return stages
    .names()
    .reverse()
    .find((name) => {
      const isDone = done.some((row) => row.name === name);
      return isDone && isWanted(name) && leavesPolicy(stages.get(name)) && !leftNoAttacker(store, name);
    });
}
