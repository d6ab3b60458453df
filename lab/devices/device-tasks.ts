import { randomStream } from '../../src/base/random.ts';
import { type ParameterVector, parameterView } from '../../src/engine/optimizer/flat-parameters.ts';
import type { ComputeOptions } from '../../src/engine/runtime/device.ts';
import { trajectoryBalance } from '../../src/learning/objectives/trajectory-balance.ts';
import type { DecoderCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { openActorCriticSession } from '../../src/models/decoder/actor-critic-session.ts';
import type { Trainable } from '../../src/models/decoder/declare-model.ts';
import { openGenerator } from '../../src/models/decoder/generator.ts';
import { openLabelScorer } from '../../src/models/decoder/label-scorer.ts';
import { openPolicySession, type PolicySession } from '../../src/models/decoder/policy-session.ts';
import { openScorer } from '../../src/models/decoder/scorer.ts';
import { openTextClassifier } from '../../src/models/encoder/text-classifier.ts';
import { openTextEncoder } from '../../src/models/encoder/text-encoder.ts';
import type { BatchSizes, DeviceModels } from './device-models.ts';

/** Tensors that a task computed, by name. */
export type Computed = Readonly<Record<string, Float32Array>>;

/** One kind of work of a run, on one device. */
export interface OpenedTask {
  /** Runs it once; the inputs are the same each time. The results are the caller's. */
  run(): Promise<Readonly<Record<string, Computed>>>;
  close(): Promise<void>;
}

/** The part takes every session of its task. */
export const ALL_SESSIONS = '*';

export interface DeviceTask {
  /** Parts of the work that the table shows, and the first word in the label of the session that does each. */
  readonly parts: Readonly<Record<string, string>>;
  open(models: DeviceModels, compute: ComputeOptions): Promise<OpenedTask>;
}

const MIN_TOKENS = 2;
const INIT = 0.01;

/** Draws ids of plain text: the control tokens of a model are below 300, those of a fixture below 5. */
function textIds(name: string, vocabSize: number): (count: number) => number[] {
  const stream = randomStream(0, 'devices', name);
  const first = vocabSize > 1000 ? 300 : 5;
  const end = Math.min(vocabSize, 1000);
  return (count) => Array.from({ length: count }, () => first + stream.nextInt(end - first));
}

/** The adapter of a task on every projection, so that every gradient is one that training uses. */
const TRAINABLE: Trainable = { kind: 'lora', spec: { rank: 4, alpha: 8, targets: 'all-linear' } };

/** Rows of unequal length, and prompts that share their first half. */
function batchOf({ decoder, sizes }: DeviceModels) {
  const ids = textIds('batch', decoder.config.vocabSize);
  const shared = ids(Math.floor(sizes.prompt / 2));
  return {
    prompt: ids(sizes.prompt),
    rows: Array.from({ length: sizes.rows }, (_, row) => ids(sizes.tokens - (row % 3))),
    prompts: Array.from({ length: Math.ceil(sizes.responses / 2) }, (_, row) => [
      ...shared,
      ...ids(sizes.prompt - shared.length - (row % 3)),
    ]),
    answers: Array.from({ length: sizes.responses }, (_, row) => ids(sizes.tokens - (row % 2))),
  };
}

/** Texts of unequal length in the words of a model's own tokenizer. */
function textsOf({ tokenizer }: Pick<DecoderCheckpoint, 'tokenizer'>, { responses, tokens }: BatchSizes): string[] {
  const ids = textIds('texts', tokenizer.vocabSize);
  return Array.from({ length: responses }, (_, row) => tokenizer.decode(ids(tokens + (row % 3))));
}

function modelOf({ decoder, sizes }: DeviceModels) {
  const { config, weights } = decoder;
  return {
    config,
    weights,
    contextTokens: sizes.prompt + sizes.tokens + 1,
    bans: { always: [0], end: [decoder.tokenizer.endIds[0] ?? 1] },
  };
}

/** Fills trained tensors with small values: an adapter that is zero would hide half of its gradient. */
function fillParameters({ data }: ParameterVector): void {
  const stream = randomStream(0, 'devices', 'parameters');
  for (let i = 0; i < data.length; i++) data[i] = INIT * stream.nextNormal();
}

/** The gradient of each trained tensor. */
function gradientsOf({ parameters, gradient }: Pick<PolicySession, 'parameters' | 'gradient'>): Computed {
  const named: Record<string, Float32Array> = {};
  let start = 0;
  for (const { name } of parameters.specs) {
    const { length } = parameterView(parameters, name);
    named[`gradient of ${name}`] = gradient.slice(start, start + length);
    start += length;
  }
  return named;
}

const training: DeviceTask = {
  parts: { 'training step': ALL_SESSIONS },
  async open(models, compute) {
    const policy = await openPolicySession(
      { ...modelOf(models), trainable: TRAINABLE, logZ: 'through-trunk' },
      compute,
    );
    fillParameters(policy.parameters);
    const { prompt, rows } = batchOf(models);
    const logRewards = Float32Array.from(rows, (_, row) => -10 - row);
    const weights = trajectoryBalance().batchWeights(logRewards);
    return {
      async run() {
        policy.clearGradient();
        const { logProbs, logZ } = await policy.step({ prompt, rows }, { minTokens: MIN_TOKENS }, logRewards, weights);
        return { 'training step': { logProbs, logZ: Float32Array.of(logZ), ...gradientsOf(policy) } };
      },
      close: () => policy.close(),
    };
  },
};

const actorCritic: DeviceTask = {
  parts: { 'PPO step': ALL_SESSIONS },
  async open(models, compute) {
    const session = await openActorCriticSession(
      { ...modelOf(models), trainable: TRAINABLE, valueGradient: 'through-trunk', clipRange: 0.2, valueClipRange: 0.2 },
      compute,
    );
    fillParameters(session.parameters);
    const { prompt, rows } = batchOf(models);
    const values = (name: string) => {
      const stream = randomStream(0, 'devices', name);
      return rows.map((row) => row.map(() => stream.nextNormal()));
    };
    const oldLogProbs = values('old log-probs').map((row) => row.map((value) => value - 3));
    const learnt = {
      oldLogProbs,
      policyWeights: values('advantages'),
      oldValues: values('old values'),
      returns: values('returns'),
      valueWeights: rows.map((row) => row.map(() => 0.1)),
    };
    return {
      async run() {
        session.clearGradient();
        const result = await session.step({ prompt, rows }, { minTokens: MIN_TOKENS }, learnt);
        const flat = (ragged: readonly Float32Array[]) => Float32Array.from(ragged.flatMap((row) => [...row]));
        return {
          'PPO step': { logProbs: flat(result.tokenLogProbs), values: flat(result.values), ...gradientsOf(session) },
        };
      },
      close: () => session.close(),
    };
  },
};

const scoring: DeviceTask = {
  parts: { scorer: ALL_SESSIONS },
  async open(models, compute) {
    const scorer = await openScorer(modelOf(models), compute);
    const { prompt, rows } = batchOf(models);
    return {
      async run() {
        const scored = await scorer.score({ prompt, rows }, MIN_TOKENS);
        return { scorer: Object.fromEntries(scored.map((row, i) => [`row ${i}`, row])) };
      },
      close: () => scorer.close(),
    };
  },
};

/** Generation that writes given tokens: the log-probs of every step can be compared, whatever would be drawn. */
const generation: DeviceTask = {
  parts: { prefill: 'prefill', decode: 'decode' },
  async open(models, compute) {
    const generator = await openGenerator({ ...modelOf(models), withLogProbs: true }, compute);
    const { prompts, answers } = batchOf(models);
    return {
      async run() {
        const prefill: Record<string, Float32Array> = {};
        const decode: Record<string, Float32Array> = {};
        await generator.generate({
          prompts,
          requests: answers.map((kept, row) => ({
            prompt: row % prompts.length,
            stream: randomStream(0, 'devices', 'draw', row),
            temperature: 1,
            kept,
            watch: watchInto(row, kept.length, prefill, decode),
          })),
          minNewTokens: 0,
          maxNewTokens: models.sizes.tokens,
          topK: 0,
          topP: 1,
        });
        return { prefill, decode };
      },
      close: () => generator.close(),
    };
  },
};

/** Keeps the log-probs of each step of a row, and ends it after its tokens. */
function watchInto(
  row: number,
  tokens: number,
  first: Record<string, Float32Array>,
  further: Record<string, Float32Array>,
) {
  let step = 0;
  return (_token: number, logProbs: Float32Array | undefined): boolean => {
    const allowed = (logProbs as Float32Array).filter((value) => value > -1e6); // a banned token has -1e9
    (step === 0 ? first : further)[`row ${row}, token ${step}`] = allowed;
    step++;
    return step === tokens;
  };
}

const classifierJudge: DeviceTask = {
  parts: { 'classifier judge': ALL_SESSIONS },
  async open(models, compute) {
    const classifier = await openTextClassifier(models.classifier, { runtime: compute });
    const texts = textsOf(models.classifier, models.sizes).map((text) => ({ text }));
    return {
      async run() {
        const rows = await classifier.classify(texts);
        return { 'classifier judge': Object.fromEntries(rows.map((row, i) => [`text ${i}`, row])) };
      },
      close: () => classifier.close(),
    };
  },
};

const guardJudge: DeviceTask = {
  parts: { 'guard judge': ALL_SESSIONS },
  async open(models, compute) {
    const scorer = await openLabelScorer(models.decoder, compute);
    const { tokenizer } = models.decoder;
    const prompts = textsOf(models.decoder, models.sizes).slice(0, models.sizes.rows);
    const ids = textIds('labels', tokenizer.vocabSize);
    const labels = [tokenizer.decode(ids(1)), tokenizer.decode(ids(2))];
    return {
      async run() {
        const rows = await scorer.scoreLabels(prompts, labels);
        return { 'guard judge': Object.fromEntries(rows.map((row, i) => [`text ${i}`, Float32Array.from(row)])) };
      },
      close: () => scorer.close(),
    };
  },
};

const sentences: DeviceTask = {
  parts: { encoder: ALL_SESSIONS },
  async open(models, compute) {
    const encoder = await openTextEncoder(models.encoder, { runtime: compute });
    const texts = textsOf(models.encoder, models.sizes);
    return {
      run: async () => ({ encoder: { embeddings: await encoder.embed(texts) } }),
      close: () => encoder.close(),
    };
  },
};

/** Everything that a run computes in a model. */
export const DEVICE_TASKS: readonly DeviceTask[] = [
  training,
  actorCritic,
  scoring,
  generation,
  classifierJudge,
  guardJudge,
  sentences,
];
