import path from 'node:path';
import type { Tensor } from 'onnxruntime-node';
import { FloodgateError } from '../../base/errors.ts';
import { makeOrClose } from '../../base/open-together.ts';
import type { ParameterVector } from '../../engine/optimizer/flat-parameters.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type GraphSession, openSession } from '../../engine/runtime/session.ts';
import { float32Tensor } from '../../engine/runtime/tensors.ts';
import { headPartFeed, headParts } from './frozen-head.ts';
import { TrainedVector } from './policy-forward.ts';
import { buildPolicyGraph, type LogZMode, type PolicyGraphOptions, policyParameters } from './policy-graph.ts';
import { type RowBatch, rowFeeds, type TargetOptions, withFilledPrefix } from './row-batch.ts';

/** Weights of the rows of one step, from the objective: see `buildPolicyGraph`. */
export interface RowWeights {
  readonly pairWeight: Float32Array;
  readonly rowWeight: Float32Array;
  readonly directWeight: Float32Array;
}

export interface PolicyStep {
  /** log pi of each row, at the parameters before the update [B]. */
  readonly logProbs: Float32Array;
  readonly logZ: number;
}

/** The training step of a decoder: one session, its trained parameters and their accumulated gradient. */
export class PolicySession {
  readonly parameters: ParameterVector;
  /** Sum of the gradients of the steps since `clearGradient`. */
  readonly gradient: Float32Array;
  private readonly session: GraphSession;
  private readonly trained: TrainedVector;
  private readonly logZ: LogZMode;
  private readonly headParts: number;

  constructor(session: GraphSession, options: PolicyGraphOptions) {
    this.session = session;
    this.logZ = options.logZ;
    this.headParts = headParts(options.trainable.kind, session.device);
    this.trained = new TrainedVector(policyParameters(options), options.trainable);
    this.parameters = this.trained.parameters;
    this.gradient = this.trained.gradient;
  }

  clearGradient(): void {
    this.trained.clear();
  }

  /** Runs forward and backward over the rows and adds their gradient to `gradient`. */
  async step(
    batch: RowBatch,
    targets: TargetOptions,
    logRewards: Float32Array,
    weights: RowWeights,
  ): Promise<PolicyStep> {
    const n = batch.rows.length;
    const logProbs = new Float32Array(n);
    const logZ = new Float32Array(1);
    const rows = this.filled(rowFeeds(batch, targets));
    const feeds: Record<string, Tensor> = {
      ...rows,
      ...headPartFeed(this.headParts, rows.targetIds?.size ?? 0),
      ...this.trained.feeds(),
      logReward: float32Tensor(logRewards, [n]),
      pairWeight: float32Tensor(weights.pairWeight, [n, n]),
      rowWeight: float32Tensor(weights.rowWeight, [n]),
      directWeight: float32Tensor(weights.directWeight, [n]),
    };
    const results = { logProb: float32Tensor(logProbs, [n]), logZ: float32Tensor(logZ, []) };
    await this.trained.addGradient((fetches) => this.session.run(feeds, { ...fetches, ...results }));
    return { logProbs, logZ: logZ[0] as number };
  }

  /** Feeds whose prefix has a token where the device needs one. A log Z over the prompt would count that token. */
  private filled(feeds: Record<string, Tensor>): Record<string, Tensor> {
    const filled = withFilledPrefix(feeds, this.session.device);
    if (filled === feeds || this.logZ === 'none') return filled;
    throw new FloodgateError(
      'model',
      `run ${this.session.label} on ${this.session.device}: got a meta-prompt of one token, expected two or more`,
      { hint: 'write a longer attacker.metaPrompt, or use attacker.device: cpu' },
    );
  }

  async close(): Promise<void> {
    await this.session.close();
  }
}

/** Opens the training session of a decoder. Maps its weights from the file, without a copy. */
export async function openPolicySession(options: PolicyGraphOptions, compute: ComputeOptions): Promise<PolicySession> {
  const session = await openSession(buildPolicyGraph(options, headParts(options.trainable.kind, compute.device)), {
    ...compute,
    label: `policy ${path.basename(options.weights.path)}`,
    weightFolder: path.dirname(options.weights.path),
    prepack: false,
  });
  return makeOrClose([session], () => new PolicySession(session, options));
}
