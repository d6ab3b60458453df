import { monotonicMs } from '../../base/clock.ts';
import { type RandomStream, randomStream } from '../../base/random.ts';
import { optimizerStep } from '../../engine/optimizer/optimizer-step.ts';
import { type LearningRateRule, learningRateAt } from '../../engine/optimizer/schedules.ts';
import type { PolicySession } from '../../models/decoder/policy-session.ts';
import type { TokenRow } from '../../models/decoder/row-batch.ts';
import { placesByCell } from '../attacker.ts';
import { directWeights } from '../objectives/objective.ts';
import { runUpdates, type TrainingRun } from './update-loop.ts';

/** A sequence, with its end token where it has one, and the cell whose prompt it follows. */
export interface LikelihoodRow {
  readonly row: TokenRow;
  /** Absent for an attacker without cells. */
  readonly cell?: string;
}

/** One sequence to imitate, and its weight in the draw. */
export interface LikelihoodExample extends LikelihoodRow {
  readonly weight: number;
}

export interface LikelihoodParts {
  readonly policy: PolicySession;
  readonly examples: readonly LikelihoodExample[];
  /** Rows whose loss is measured but never trained on. */
  readonly validation: readonly LikelihoodRow[];
}

export interface LikelihoodOptions {
  /** The prompt that the sequences of a cell follow. */
  readonly promptOf: (cell: string | undefined) => readonly number[];
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

/** Examples of one cell, and how many batches of one round are drawn from them. */
interface CellExamples {
  readonly cell: string | undefined;
  readonly examples: readonly LikelihoodExample[];
  readonly batches: number;
}

/** The examples by cell. A round has about as many batches as hold all examples, of each cell in proportion to its weight. */
function examplesByCell(examples: readonly LikelihoodExample[], batchSize: number): CellExamples[] {
  const total = examples.reduce((sum, { weight }) => sum + weight, 0);
  return [...placesByCell(examples)].map(([cell, places]) => {
    const own = places.map((i) => examples[i] as LikelihoodExample);
    const share = own.reduce((sum, { weight }) => sum + weight, 0) / total;
    return { cell, examples: own, batches: Math.max(1, Math.round((share * examples.length) / batchSize)) };
  });
}

/** The examples that an update draws from, and how many batches were drawn from them before. */
interface CellTurn extends Omit<CellExamples, 'batches'> {
  readonly batch: number;
}

/** The cell of an update: a round holds the batches of all cells in a random order. */
function turnOf(cells: readonly CellExamples[], update: number, { seed }: LikelihoodOptions, stage: string): CellTurn {
  const [only] = cells;
  if (cells.length === 1 && only !== undefined) return { ...only, batch: update };
  const all = cells.flatMap((each) => new Array<CellExamples>(each.batches).fill(each));
  const round = Math.floor(update / all.length);
  const order = randomStream(seed, stage, 'cells', round).shuffle(all);
  const at = update % all.length;
  const own = order[at] as CellExamples;
  const earlier = order.slice(0, at).filter((each) => each === own).length;
  return { ...own, batch: round * own.batches + earlier };
}

/**
 * Draws an update's examples from one cell: in shuffled epochs when all its weights are equal, otherwise by weight with
 * replacement.
 */
function drawBatch(turn: CellTurn, update: number, options: LikelihoodOptions, stage: string): LikelihoodExample[] {
  const { examples } = turn;
  const first = examples[0]?.weight;
  if (examples.every(({ weight }) => weight === first)) return epochBatch(turn, options, stage);
  const stream = randomStream(options.seed, stage, 'batch', update);
  const total = examples.reduce((sum, { weight }) => sum + weight, 0);
  return Array.from({ length: options.batchSize }, () => weightedDraw(examples, total, stream));
}

function epochBatch(
  { cell, examples, batch }: CellTurn,
  { seed, batchSize }: LikelihoodOptions,
  stage: string,
): LikelihoodExample[] {
  const orders = new Map<number, LikelihoodExample[]>();
  const name = cell === undefined ? 'epoch' : `epoch of ${cell}`;
  return Array.from({ length: batchSize }, (_, i) => {
    const draw = batch * batchSize + i;
    const epoch = Math.floor(draw / examples.length);
    const order = orders.get(epoch) ?? randomStream(seed, stage, name, epoch).shuffle(examples);
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

/** Nats per token over `rows`, each after the prompt of its cell, without a gradient. */
async function meanLoss(
  session: PolicySession,
  rows: readonly LikelihoodRow[],
  options: LikelihoodOptions,
): Promise<number> {
  let sum = 0;
  for (const [cell, places] of placesByCell(rows)) {
    for (let start = 0; start < places.length; start += options.batchSize) {
      const batch = places.slice(start, start + options.batchSize).map((i) => (rows[i] as LikelihoodRow).row);
      const n = batch.length;
      const { logProbs } = await session.step(
        { prompt: options.promptOf(cell), rows: batch },
        { minTokens: options.minTokens },
        new Float32Array(n),
        directWeights(new Float32Array(n)),
      );
      sum -= logProbs.reduce((total, logProb) => total + logProb, 0);
    }
  }
  return sum / rows.reduce((tokens, { row }) => tokens + row.length, 0);
}

/**
 * Maximum likelihood on attacks after the meta-prompt: the SFT warm-up and the smoothing phase. Cross-entropy on the
 * attack's tokens and its end token only, mean over the tokens of the batch. Each batch is of one cell.
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
  const { stage } = control.checkpoints;
  const cells = examplesByCell(data.examples, options.batchSize);
  return runUpdates(control, state, { from: run.from, to }, async (update) => {
    const started = monotonicMs();
    const turn = turnOf(cells, update, options, stage);
    const rows = drawBatch(turn, update, options, stage).map(({ row }) => row);
    const tokens = rows.reduce((sum, row) => sum + row.length, 0);
    session.clearGradient();
    const { logProbs } = await session.step(
      { prompt: options.promptOf(turn.cell), rows },
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
