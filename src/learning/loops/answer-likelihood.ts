import { monotonicMs } from '../../base/clock.ts';
import { randomStream } from '../../base/random.ts';
import { optimizerStep } from '../../engine/optimizer/optimizer-step.ts';
import { type LearningRateRule, learningRateAt } from '../../engine/optimizer/schedules.ts';
import { sharedTokens } from '../../models/decoder/generator.ts';
import type { PolicySession } from '../../models/decoder/policy-session.ts';
import { groupRows } from '../../models/decoder/row-batch.ts';
import { directWeights } from '../objectives/objective.ts';
import { runUpdates, type TrainingRun } from './update-loop.ts';

/** One answer to imitate after its own whole prompt, as token ids. Only the answer's tokens are learned. */
export interface AnswerExample {
  /** Everything before the answer: template, system and user tokens, the assistant's header. At least one token. */
  readonly prompt: readonly number[];
  /** The answer with the token that ends it. At least one token. */
  readonly answer: readonly number[];
}

export interface AnswerOptions {
  /** Examples of one update; capped at the number of examples. */
  readonly batchSize: number;
  /**
   * Prompt and answer tokens, padding included, of one forward and backward pass. Bounds memory without changing
   * results.
   */
  readonly maxTokensPerPass: number;
  readonly learningRate: LearningRateRule;
  readonly gradientClip: number;
  readonly weightDecay: number;
  readonly seed: number;
  /** Updates between two validation losses. */
  readonly validateEveryUpdates: number;
  /** Validations without improvement after which training ends; 0 = never. */
  readonly patience: number;
}

export interface AnswerUpdate {
  /** Counted from 0. */
  readonly update: number;
  /** Nats per answer token over the batch. */
  readonly loss: number;
  readonly gradientNorm: number;
  /** Answer tokens of the batch. */
  readonly tokens: number;
  readonly seconds: number;
  /** Nats per answer token over the validation examples; present when measured after this update. */
  readonly validationLoss?: number;
}

/** The validation loss so far: a resume needs it. */
export interface ValidationWatch {
  /** Before any update. */
  initialLoss: number | null;
  bestLoss: number | null;
  /** Updates done at the best loss; 0 = the initial model. */
  bestUpdates: number;
  /** Validations since the best one. */
  stale: number;
}

export const createValidationWatch = (): ValidationWatch => ({
  initialLoss: null,
  bestLoss: null,
  bestUpdates: 0,
  stale: 0,
});

/** Examples of one pass: the prefix that their prompts share, the rest of each, and the start of its answer. */
interface Pass {
  readonly prompt: readonly number[];
  readonly rows: readonly (readonly number[])[];
  readonly answerStarts: readonly number[];
}

/**
 * Groups `examples` into passes: prompts with a common beginning run together, sorted by length. Whole prompts differ
 * from row to row, so only the common prefix is shared. The rest of a prompt is part of its row and carries no loss.
 */
export function answerPasses(examples: readonly AnswerExample[], maxTokens: number): Pass[] {
  const sorted = [...examples].sort(
    (a, b) =>
      (a.prompt[0] as number) - (b.prompt[0] as number) ||
      a.prompt.length + a.answer.length - (b.prompt.length + b.answer.length),
  );
  const passes: Pass[] = [];
  for (let start = 0; start < sorted.length; ) {
    const first = sorted[start]?.prompt[0];
    let end = start;
    while (sorted[end]?.prompt[0] === first && end < sorted.length) end++;
    const alike = sorted.slice(start, end);
    const lengths = alike.map(({ prompt, answer }) => prompt.length + answer.length);
    for (const [from, to] of groupRows(lengths, { maxRows: alike.length, maxTokens }))
      passes.push(toPass(alike.slice(from, to)));
    start = end;
  }
  return passes;
}

function toPass(examples: readonly AnswerExample[]): Pass {
  const shared = Math.max(1, sharedTokens(examples.map(({ prompt }) => prompt)));
  return {
    prompt: (examples[0] as AnswerExample).prompt.slice(0, shared),
    rows: examples.map(({ prompt, answer }) => [...prompt.slice(shared), ...answer]),
    answerStarts: examples.map(({ prompt }) => prompt.length - shared),
  };
}

const answerTokens = (examples: readonly AnswerExample[]): number =>
  examples.reduce((sum, { answer }) => sum + answer.length, 0);

/**
 * Sum of -log p over the answer tokens of `examples`. Its gradient, divided by `divisor`, is added to the session's;
 * `divisor` Infinity adds nothing.
 */
export async function answerLoss(
  session: PolicySession,
  examples: readonly AnswerExample[],
  { maxTokensPerPass, divisor }: { readonly maxTokensPerPass: number; readonly divisor: number },
): Promise<number> {
  let sum = 0;
  for (const { prompt, rows, answerStarts } of answerPasses(examples, maxTokensPerPass)) {
    const n = rows.length;
    const { logProbs } = await session.step(
      { prompt, rows },
      { minTokens: 0, isCounted: (row, position) => position >= (answerStarts[row] as number) },
      new Float32Array(n),
      directWeights(new Float32Array(n).fill(-1 / divisor)), // d/d(log p) of -sum log p / divisor
    );
    for (const logProb of logProbs) sum -= logProb;
  }
  return sum;
}

/** Nats per answer token over `examples`. */
async function meanLoss(session: PolicySession, examples: readonly AnswerExample[], options: AnswerOptions) {
  const { maxTokensPerPass } = options;
  const sum = await answerLoss(session, examples, { maxTokensPerPass, divisor: Number.POSITIVE_INFINITY });
  return sum / answerTokens(examples);
}

/** Updates of `epochs` epochs over `examples` examples; each epoch's last batch may be short. */
export function updatesOfEpochs(
  examples: number,
  { batchSize, epochs }: { batchSize: number; epochs: number },
): number {
  return Math.ceil(examples / batchSize) * epochs;
}

function batchAt(examples: readonly AnswerExample[], update: number, options: AnswerOptions, stage: string) {
  const perEpoch = Math.ceil(examples.length / options.batchSize);
  const order = randomStream(options.seed, stage, 'epoch', Math.floor(update / perEpoch)).shuffle(examples);
  const start = (update % perEpoch) * options.batchSize;
  return order.slice(start, start + options.batchSize);
}

export interface AnswerParts {
  readonly policy: PolicySession;
  readonly training: readonly AnswerExample[];
  readonly validation: readonly AnswerExample[];
  readonly watch: ValidationWatch;
  /** Grows by one entry per update. Checkpoints include it, so that a resumed run has the whole curve. */
  readonly curve: AnswerUpdate[];
  /** Called when the parameters are the best so far, after `updates` updates. */
  keepBest(updates: number): Promise<void>;
}

/** Measures the validation loss and updates the watch. */
async function validate(parts: AnswerParts, options: AnswerOptions, updates: number): Promise<number> {
  const { policy: session, validation, watch } = parts;
  const loss = await meanLoss(session, validation, options);
  watch.initialLoss ??= loss;
  if (watch.bestLoss === null || loss < watch.bestLoss) {
    Object.assign(watch, { bestLoss: loss, bestUpdates: updates, stale: 0 });
    await parts.keepBest(updates);
  } else watch.stale++;
  return loss;
}

/**
 * Supervised fine-tuning on answers: cross-entropy of the answer's tokens and its end token given the whole prompt,
 * mean over the answer tokens of the batch. Template, system and user tokens are context and carry no loss (method.md,
 * mistake 8). Nothing is banned: the loss is the model's own, as any other trainer computes it.
 *
 * The initial model is the first candidate, so that training that only raises the loss leaves it unchanged.
 * @returns updates done, fewer than planned when the validation loss stopped falling.
 */
export async function trainAnswers(
  parts: AnswerParts,
  options: AnswerOptions,
  run: TrainingRun<AnswerUpdate>,
): Promise<number> {
  const { control, optimizer } = run;
  const { policy: session, training, validation, watch, curve } = parts;
  const to = options.learningRate.totalUpdates;
  if (validation.length > 0 && watch.initialLoss === null) await validate(parts, options, run.from);
  const state = { parameters: session.parameters, optimizer, extra: () => ({ watch, curve }) };
  return runUpdates(control, state, { from: run.from, to }, async (update) => {
    const started = monotonicMs();
    const batch = batchAt(training, update, options, control.checkpoints.stage);
    const tokens = answerTokens(batch);
    session.clearGradient();
    const sum = await answerLoss(session, batch, { ...options, divisor: tokens });
    const gradientNorm = optimizerStep(session, optimizer, {
      gradientClip: options.gradientClip,
      learningRate: learningRateAt(options.learningRate, update),
      weightDecay: options.weightDecay,
    });
    const isMeasured =
      validation.length > 0 && ((update + 1) % options.validateEveryUpdates === 0 || update + 1 === to);
    const measured = isMeasured ? { validationLoss: await validate(parts, options, update + 1) } : {};
    const seconds = (monotonicMs() - started) / 1000;
    const record = { update, loss: sum / tokens, gradientNorm, tokens, seconds, ...measured };
    curve.push(record);
    const isEnded = await run.onUpdate(record);
    const { validationLoss } = measured;
    return {
      note: `loss ${(sum / tokens).toFixed(3)}${validationLoss === undefined ? '' : `, validation ${validationLoss.toFixed(3)}`}`,
      stop: isEnded || (isMeasured && options.patience > 0 && watch.stale >= options.patience),
    };
  });
}
