import { totalmem } from 'node:os';
import { FloodgateError } from '../../base/errors.ts';
import { defaultThreads } from '../../engine/runtime/device.ts';
import { measureMatmulRate } from '../../engine/runtime/matmul-rate.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import { loraParameters } from '../../models/decoder/lora.ts';
import { createOpenModels } from '../../models/open-models.ts';
import { attackersToTrain } from '../config/attacker-names.ts';
import type { Config } from '../config/config-schema.ts';
import type { CampaignIo } from './campaign-io.ts';
import { openRunDecoder } from './open-run-models.ts';
import { planStages, type StagePlan, trainsEveryWeight } from './plan-stages.ts';
import { loadRunSeeds, openRunWorld } from './run-world.ts';

/** What a run would do, before it does anything. Upper bounds: attacks and responses are counted at full length. */
export interface RunPlan {
  readonly seeds: number;
  readonly stages: readonly StagePlan[];
  readonly memoryBytes: number;
  readonly machineMemoryBytes: number;
  /** fp32 matmul rate measured on this machine just now. */
  readonly gigaflops: number;
  readonly seconds: number;
}

/** Weights used once a token: everything but the embedding table, which counts once as the head. */
function parametersOf({ weights, config }: DecoderCheckpoint): number {
  let total = 0;
  for (const [name, { shape }] of weights.tensors) {
    const isPositionTable = name === 'wpe.weight';
    const isUntiedTable = !config.tiedEmbeddings && name.endsWith('embed_tokens.weight');
    if (!isPositionTable && !isUntiedTable) total += shape.reduce((a, b) => a * b, 1);
  }
  return total;
}

/**
 * The cost of a run from its config: attacks, calls, tokens, memory, time.
 *
 * @throws FloodgateError `run` when the machine's memory cannot hold it; `source` when a model is missing.
 */
export async function planRun(config: Config, io: CampaignIo): Promise<RunPlan> {
  const world = await openRunWorld(config, io);
  const seeds = await loadRunSeeds(config, world);
  const threads = config.threads ?? defaultThreads();
  const models = createOpenModels({ threads, ...io });
  const attacker = await openRunDecoder(models, config.attacker.model, 'attacker', world);
  const target =
    config.target.kind === 'local' ? await openRunDecoder(models, config.target.model, 'target', world) : undefined;
  const gigaflops = await measureMatmulRate(threads);
  const memoryBytes = estimateMemory(config, attacker, target);
  const machineMemoryBytes = totalmem();
  if (memoryBytes > machineMemoryBytes) {
    const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
    throw new FloodgateError(
      'run',
      `plan run: it needs about ${gib(memoryBytes)}, this machine has ${gib(machineMemoryBytes)}`,
      {
        hint: 'choose smaller models, a smaller gflownet.batchSize or fewer target.responses',
      },
    );
  }
  const stages = planStages(config, {
    seeds: seeds.attacks.length,
    attackerSize: parametersOf(attacker),
    targetSize: target === undefined ? 0 : parametersOf(target),
    gigaflops,
  });
  return {
    seeds: seeds.attacks.length,
    stages,
    memoryBytes,
    machineMemoryBytes,
    gigaflops,
    seconds: stages.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

function weightBytes({ weights }: DecoderCheckpoint): number {
  let bytes = 0;
  for (const { byteLength } of weights.tensors.values()) bytes += byteLength;
  return bytes;
}

/** Numbers that training changes: the adapter's, or every weight where a stage trains them. */
function trainedValues(model: DecoderCheckpoint, config: Config): number {
  const { lora } = config.attacker;
  if (attackersToTrain(config.attackers).some((stage) => trainsEveryWeight(config, stage))) {
    return weightBytes(model) / 4;
  }
  return loraParameters(model.config, lora).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
}

/** Parameter, gradient and two moments; at a resume, parameter and moments of the checkpoint that is read beside them. */
const TRAINED_VALUE_BYTES = 28;

/** Mapped weights, a repacked copy for each decode session, optimizer, activations of a step, and the K/V cache. */
function estimateMemory(config: Config, attacker: DecoderCheckpoint, target: DecoderCheckpoint | undefined): number {
  const { gflownet, attacker: spec } = config;
  const trained = trainedValues(attacker, config);
  const { width, layers, feedForwardWidth, vocabSize } = attacker.config;
  const tokens = gflownet.batchSize * spec.maxTokens;
  const activations = 4 * tokens * (layers * (12 * width + 4 * feedForwardWidth) + 3 * vocabSize);
  const cacheOf = ({ config: c }: DecoderCheckpoint, rows: number, length: number): number =>
    8 * rows * length * c.layers * c.kvHeads * c.headWidth;
  // Training in int8 opens the target twice: evaluation stays in fp32.
  const isInt8 = config.target.kind === 'local' && config.target.precision === 'int8';
  const targetBytes =
    target === undefined
      ? 0
      : weightBytes(target) * (isInt8 ? 3.25 : 2) +
        cacheOf(target, 96, spec.maxTokens + config.target.decode.maxNewTokens + 128);
  return (
    weightBytes(attacker) * 2 +
    TRAINED_VALUE_BYTES * trained +
    activations +
    cacheOf(attacker, 64, spec.maxTokens + 128) +
    targetBytes +
    300e6
  );
}
