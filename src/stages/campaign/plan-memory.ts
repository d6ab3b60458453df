import { totalmem } from 'node:os';
import { FloodgateError } from '../../base/errors.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import { headParts } from '../../models/decoder/frozen-head.ts';
import { loraParameters } from '../../models/decoder/lora.ts';
import type { PlannedTarget } from '../../targets/target-kind.ts';
import type { Config } from '../config/config.ts';
import { stagesToTrain } from '../registry.ts';
import type { PlanContext, Stage } from '../stage.ts';
import { repacks } from './run-models.ts';

/** Bytes that a run needs, and those of this machine. */
export interface PlannedMemory {
  readonly memoryBytes: number;
  readonly machineMemoryBytes: number;
}

/** @throws FloodgateError `run` where the run needs more memory than the machine has. */
export function planMemory(
  config: Config,
  context: PlanContext,
  attacker: DecoderCheckpoint,
  target: PlannedTarget,
): PlannedMemory {
  const widest = widestPass(config, context);
  const memoryBytes = estimateMemory(config, attacker, target, widest);
  const machineMemoryBytes = totalmem();
  if (memoryBytes > machineMemoryBytes) throw tooLarge(config, memoryBytes, machineMemoryBytes, widest);
  return { memoryBytes, machineMemoryBytes };
}

function tooLarge(config: Config, needed: number, present: number, widest: WidestPass): FloodgateError {
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  return new FloodgateError('run', `plan run: it needs about ${gib(needed)}, this machine has ${gib(present)}`, {
    hint: `${repacks(config) ? 'set memory: small, or ' : ''}choose smaller models, a smaller batchSize of ${widest.stage} (now ${widest.rows}), or fewer target.responses`,
  });
}

/** Weights used once per token: everything but the embedding table, which counts once as the head. */
export function parametersOf({ weights, config }: DecoderCheckpoint): number {
  let total = 0;
  for (const [name, { shape }] of weights.tensors) {
    const isPositionTable = name === 'wpe.weight';
    const isUntiedTable = !config.tiedEmbeddings && name.endsWith('embed_tokens.weight');
    if (!isPositionTable && !isUntiedTable) total += shape.reduce((a, b) => a * b, 1);
  }
  return total;
}

function weightBytes({ weights }: DecoderCheckpoint): number {
  let bytes = 0;
  for (const { byteLength } of weights.tensors.values()) bytes += byteLength;
  return bytes;
}

export function trainsEveryWeight(config: Config, stage: Stage): boolean {
  return config.attacker.method === 'full' || (stage.trainsEveryWeight?.(config) ?? false);
}

/** The most that a run trains: every weight where a stage of it does. */
function trainedKind(config: Config): 'lora' | 'full' {
  return stagesToTrain(config.attackers).some((stage) => trainsEveryWeight(config, stage)) ? 'full' : 'lora';
}

/** Numbers that training changes: the adapter's, or every weight where a stage trains them. */
function trainedValues(model: DecoderCheckpoint, config: Config): number {
  if (trainedKind(config) === 'full') return weightBytes(model) / 4;
  return loraParameters(model.config, config.attacker.lora).reduce(
    (sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1),
    0,
  );
}

/** Parameter, gradient and two moments; a resume also reads the checkpoint's parameter and moments. */
const TRAINED_VALUE_BYTES = 28;

/** Rows that are decoded at once. All of them share the beginning of their prompts. */
const TARGET_ROWS = 96;
const ATTACKER_ROWS = 64;
/** Positions that each row of a target has beside its attack and response: the end of a chat template. */
const TEMPLATE_POSITIONS = 32;

/** An int8 form beside the fp32 weights, which evaluations use: mapped, and repacked for prefill and decode. */
const INT8_COPIES = 3 * 0.25;

/** Tensors of rows x vocabulary that are alive while a step of decoding draws: logits, probabilities, their copies. */
const DECODE_LOGITS = 8;
/** The same of rows x tokens x vocabulary in a step of training, whose head may come in parts. */
const STEP_LOGITS = 3;

/** The largest pass of training: its rows decide the memory of activations. */
interface WidestPass {
  readonly stage: string;
  readonly rows: number;
}

function widestPass(config: Config, context: PlanContext): WidestPass {
  const passes = stagesToTrain(config.attackers).map((stage) => ({
    stage: stage.name,
    rows: stage.plan?.(config, context).passRows ?? 0,
  }));
  return passes.reduce((widest, pass) => (pass.rows > widest.rows ? pass : widest), { stage: '', rows: 0 });
}

/** Mapped weights, a repacked copy for each decode session (one where attacker and target share it), optimizer, activations of a step, K/V caches and logits. */
function estimateMemory(
  config: Config,
  attacker: DecoderCheckpoint,
  { model, facts }: PlannedTarget,
  widest: WidestPass,
): number {
  const { maxTokens, device } = config.attacker;
  const { width, layers, feedForwardWidth, vocabSize } = attacker.config;
  const tokens = maxTokens * widest.rows;
  const logits = STEP_LOGITS / headParts(trainedKind(config), device);
  const perToken = layers * (16 * width + 5 * feedForwardWidth) + logits * vocabSize;
  const activations = 4 * tokens * perToken;
  const target = model?.checkpoint;
  const copy = repacks(config) ? 1 : 0;
  const copies = (target?.adapted === undefined ? copy : 0) + (facts.precision === 'int8' ? INT8_COPIES : 0);
  const targetBytes =
    target === undefined
      ? 0
      : weightBytes(target) * copies +
        decodeBytes(target, TARGET_ROWS, maxTokens + config.target.decode.maxNewTokens + TEMPLATE_POSITIONS);
  return (
    mappedBytes(target === undefined ? [attacker] : [attacker, target]) +
    copy * weightBytes(attacker) +
    TRAINED_VALUE_BYTES * trainedValues(attacker, config) +
    activations +
    decodeBytes(attacker, ATTACKER_ROWS, maxTokens) +
    targetBytes +
    300e6
  );
}

/** Sessions that map one file share its pages, although each session counts them in the resident size. */
function mappedBytes(models: readonly DecoderCheckpoint[]): number {
  const files = new Map(models.map((model) => [model.weights.path, weightBytes(model)]));
  return [...files.values()].reduce((sum, bytes) => sum + bytes, 0);
}

/** K/V cache and logits of `rows` that are decoded at once, each of `length` positions. */
function decodeBytes({ config }: DecoderCheckpoint, rows: number, length: number): number {
  const { layers, kvHeads, headWidth, vocabSize } = config;
  return rows * (8 * length * layers * kvHeads * headWidth + 4 * DECODE_LOGITS * vocabSize);
}
