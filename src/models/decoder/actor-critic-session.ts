import path from 'node:path';
import type { Tensor } from 'onnxruntime-node';
import { maxOf } from '../../base/long-lists.ts';
import { makeOrClose } from '../../base/open-together.ts';
import type { ParameterVector } from '../../engine/optimizer/flat-parameters.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type GraphSession, openSession } from '../../engine/runtime/session.ts';
import { float32Tensor } from '../../engine/runtime/tensors.ts';
import {
  type ActorCriticOptions,
  actorCriticParameters,
  buildActorCriticGraph,
  buildCriticGraph,
} from './actor-critic-graph.ts';
import { headPartFeed, headParts } from './frozen-head.ts';
import { TrainedVector } from './policy-forward.ts';
import { type RowBatch, rowFeeds, type TargetOptions, type TokenRow, withFilledPrefix } from './row-batch.ts';

/** One number for each token, row by row; ragged as the rows are. */
export type TokenValues = readonly ArrayLike<number>[];

/** Outputs of policy and critic for given rows, at the parameters before the update. */
export interface ActorCriticForward {
  /** Log-prob of each token under the sampler. */
  readonly tokenLogProbs: readonly Float32Array[];
  /** Expected return before each token. */
  readonly values: readonly Float32Array[];
}

/** Training targets of one step, one number for each token: see `buildActorCriticGraph`. */
export interface ActorCriticTargets {
  readonly oldLogProbs: TokenValues;
  readonly policyWeights: TokenValues;
  readonly oldValues: TokenValues;
  readonly returns: TokenValues;
  readonly valueWeights: TokenValues;
}

interface ActorCriticRun {
  readonly batch: RowBatch;
  readonly targets: TargetOptions;
  /** Inputs beyond those of the rows and the trained tensors. */
  readonly feeds?: Readonly<Record<string, Tensor>>;
  /** Outputs beyond log-probs and values. */
  readonly fetches?: Readonly<Record<string, Tensor>>;
}

/** Rows padded with 0 to [B, R]. */
function padded(values: TokenValues, length: number): Tensor {
  const data = new Float32Array(values.length * length);
  for (const [b, row] of values.entries()) data.set(row, b * length);
  return float32Tensor(data, [values.length, length]);
}

function longest(rows: readonly TokenRow[]): number {
  return maxOf(rows.map((row) => row.length));
}

/** The training step of a policy with a value head: two sessions over the same weights, one for forward only. */
export class ActorCriticSession {
  readonly parameters: ParameterVector;
  /** Sum of the gradients of the steps since `clearGradient`. */
  readonly gradient: Float32Array;
  private readonly sessions: { readonly forward: GraphSession; readonly step: GraphSession };
  private readonly trained: TrainedVector;
  private readonly headParts: number;

  constructor(
    sessions: { readonly forward: GraphSession; readonly step: GraphSession },
    options: Pick<ActorCriticOptions, 'config' | 'weights' | 'trainable'>,
  ) {
    this.sessions = sessions;
    this.trained = new TrainedVector(actorCriticParameters(options), options.trainable);
    this.headParts = headParts(options.trainable.kind, sessions.step.device);
    this.parameters = this.trained.parameters;
    this.gradient = this.trained.gradient;
  }

  clearGradient(): void {
    this.trained.clear();
  }

  /** Returns log-probs and values of every token of the rows, without a gradient. */
  async evaluate(batch: RowBatch, targets: TargetOptions): Promise<ActorCriticForward> {
    return this.run(this.sessions.forward, { batch, targets });
  }

  /** Runs forward and backward over the rows and adds their gradient to `gradient`. */
  async step(batch: RowBatch, targets: TargetOptions, learnt: ActorCriticTargets): Promise<ActorCriticForward> {
    const length = longest(batch.rows);
    const feeds = {
      ...headPartFeed(this.headParts, batch.rows.length * length),
      oldLogProb: padded(learnt.oldLogProbs, length),
      policyWeight: padded(learnt.policyWeights, length),
      oldValue: padded(learnt.oldValues, length),
      valueReturn: padded(learnt.returns, length),
      valueWeight: padded(learnt.valueWeights, length),
    };
    return this.trained.addGradient((fetches) => this.run(this.sessions.step, { batch, targets, feeds, fetches }));
  }

  private async run(
    session: GraphSession,
    { batch, targets, feeds = {}, fetches = {} }: ActorCriticRun,
  ): Promise<ActorCriticForward> {
    const { targetMask: _padding, ...rows } = withFilledPrefix(rowFeeds(batch, targets), session.device);
    const B = batch.rows.length;
    const R = longest(batch.rows);
    const tokenLogProb = new Float32Array(B * R);
    const value = new Float32Array(B * R);
    await session.run(
      { ...rows, ...this.trained.feeds(), ...feeds },
      { ...fetches, tokenLogProb: float32Tensor(tokenLogProb, [B, R]), value: float32Tensor(value, [B, R]) },
    );
    const ragged = (flat: Float32Array): Float32Array[] =>
      batch.rows.map((row, b) => flat.slice(b * R, b * R + row.length));
    return { tokenLogProbs: ragged(tokenLogProb), values: ragged(value) };
  }

  async close(): Promise<void> {
    await Promise.all([this.sessions.forward.close(), this.sessions.step.close()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Opens the actor-critic sessions of a decoder. Maps its weights from the file, without a copy. */
export async function openActorCriticSession(
  options: ActorCriticOptions,
  compute: ComputeOptions,
): Promise<ActorCriticSession> {
  const name = path.basename(options.weights.path);
  const place = { ...compute, weightFolder: path.dirname(options.weights.path), prepack: false };
  const forward = await openSession(buildCriticGraph(options), { ...place, label: `critic ${name}` });
  return makeOrClose([forward], async () => {
    const step = await openSession(buildActorCriticGraph(options, headParts(options.trainable.kind, compute.device)), {
      ...place,
      label: `actor-critic ${name}`,
    });
    return makeOrClose([step], () => new ActorCriticSession({ forward, step }, options));
  });
}
