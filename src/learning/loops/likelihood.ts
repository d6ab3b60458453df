import { monotonicMs } from '../../base/clock.ts';
import { type RandomStream, randomStream } from '../../base/random.ts';
import { optimizerStep } from '../../engine/optimizer/optimizer-step.ts';
import { type LearningRateRule, learningRateAt } from '../../engine/optimizer/schedules.ts';
import type { PolicySession } from '../../models/decoder/policy-session.ts';
import type { TokenRow } from '../../models/decoder/row-batch.ts';
import { directWeights } from '../objectives/objective.ts';
import { runUpdates, type TrainingRun } from './update-loop.ts';

/** One sequence to imitate, with its end token where it has one, and its weight in the draw. */
export interface LikelihoodExample {
  readonly row: TokenRow;
  readonly weight: number;
}

export interface LikelihoodParts {
  readonly policy: PolicySession;
  readonly examples: readonly LikelihoodExample[];
  /** Rows whose loss is measured but never trained on. */
  readonly validation: readonly TokenRow[];
}

export interface LikelihoodOptions {
  readonly prompt: readonly number[];
  /** End token banned below this position in the likelihood; 0 for seeds, which may be shorter. */
  readonly minTokens: number;
  readonly batchSize: number;
  readonly learningRate: LearningRateRule;
  readonly gradientClip: number;
  readonly weightDecay: number;
  readonly seed: number;
  /** Updates between two validation losses. */
  readonly validateEveryUpdates: number;
}

export interface LikelihoodUpdate {
  readonly update: number;
  /** Nats per token over the batch. */
  readonly loss: number;
  readonly gradientNorm: number;
  /** Tokens of the batch. */
  readonly tokens: number;
  readonly seconds: number;
  /** Nats per token over the validation rows; present when measured at this update. */
  readonly validationLoss?: number;
}

/** Draws an update's examples: in shuffled epochs when all weights are equal, otherwise by weight with replacement. */
function drawBatch(
  examples: readonly LikelihoodExample[],
  update: number,
  options: LikelihoodOptions,
  stage: string,
): LikelihoodExample[] {
  const first = examples[0]?.weight;
  if (examples.every(({ weight }) => weight === first)) return epochBatch(examples, update, options, stage);
  const stream = randomStream(options.seed, stage, 'batch', update);
  const total = examples.reduce((sum, { weight }) => sum + weight, 0);
  return Array.from({ length: options.batchSize }, () => weightedDraw(examples, total, stream));
}

function epochBatch(
  examples: readonly LikelihoodExample[],
  update: number,
  options: LikelihoodOptions,
  stage: string,
): LikelihoodExample[] {
  const orders = new Map<number, LikelihoodExample[]>();
  return Array.from({ length: options.batchSize }, (_, i) => {
    const draw = update * options.batchSize + i;
    const epoch = Math.floor(draw / examples.length);
    const order = orders.get(epoch) ?? randomStream(options.seed, stage, 'epoch', epoch).shuffle(examples);
    orders.set(epoch, order);
    return order[draw % examples.length] as LikelihoodExample;
  });
}

function weightedDraw(examples: readonly LikelihoodExample[], total: number, stream: RandomStream): LikelihoodExample {
  let left = stream.nextFloat() * total;
  for (const example of examples) {
    left -= example.weight;
    if (left < 0) return example;
  }
  return examples.at(-1) as LikelihoodExample;
}

/** Nats per token over `rows`, without a gradient. */
async function meanLoss(
  session: PolicySession,
  rows: readonly TokenRow[],
  options: LikelihoodOptions,
): Promise<number> {
  let sum = 0;
  for (let start = 0; start < rows.length; start += options.batchSize) {
    const batch = rows.slice(start, start + options.batchSize);
    const n = batch.length;
    const { logProbs } = await session.step(
      { prompt: options.prompt, rows: batch },
      { minTokens: options.minTokens },
      new Float32Array(n),
      directWeights(new Float32Array(n)),
    );
    sum -= logProbs.reduce((total, logProb) => total + logProb, 0);
  }
  return sum / rows.reduce((tokens, row) => tokens + row.length, 0);
}

/**
 * Maximum likelihood on attacks after the meta-prompt: the SFT warm-up and the smoothing phase. Cross-entropy on the
 * attack's tokens and its end token only, mean over the tokens of the batch.
 *
 * @returns updates done.
 */
export async function trainLikelihood(
  parts: LikelihoodParts,
  options: LikelihoodOptions,
  run: TrainingRun<LikelihoodUpdate>,
): Promise<number> {
  const { policy: session, ...data } = parts;
  const { control, optimizer } = run;
  const to = options.learningRate.totalUpdates;
  const state = { parameters: session.parameters, optimizer, extra: () => ({}) };
  return runUpdates(control, state, { from: run.from, to }, async (update) => {
    const started = monotonicMs();
    const rows = drawBatch(data.examples, update, options, control.checkpoints.stage).map(({ row }) => row);
    const tokens = rows.reduce((sum, row) => sum + row.length, 0);
    session.clearGradient();
    const { logProbs } = await session.step(
      { prompt: options.prompt, rows },
      { minTokens: options.minTokens },
      new Float32Array(rows.length),
      directWeights(new Float32Array(rows.length).fill(-1 / tokens)), // d/d(log pi) of -sum log pi / tokens
    );
    const gradientNorm = optimizerStep(session, optimizer, {
      gradientClip: options.gradientClip,
      learningRate: learningRateAt(options.learningRate, update),
      weightDecay: options.weightDecay,
    });
    const loss = -logProbs.reduce((sum, logProb) => sum + logProb, 0) / tokens;
    const isMeasured =
      data.validation.length > 0 && ((update + 1) % options.validateEveryUpdates === 0 || update + 1 === to);
    const validationLoss = isMeasured ? await meanLoss(session, data.validation, options) : undefined;
    const seconds = (monotonicMs() - started) / 1000;
    const stop = await run.onUpdate({
      update,
      loss,
      gradientNorm,
      tokens,
      seconds,
      ...(validationLoss === undefined ? {} : { validationLoss }),
    });
    return {
      note: `loss ${loss.toFixed(3)}${validationLoss === undefined ? '' : `, validation ${validationLoss.toFixed(3)}`}`,
      stop,
    };
  });
}
