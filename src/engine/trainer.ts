import { FloodgateError } from '../base/errors.ts';
import { gradientOutput } from './check/gradient-check.ts';
import { backward } from './graph/backward.ts';
import type { Graph } from './graph/builder.ts';
import type { Value } from './graph/ops.ts';
import { shapeKey } from './graph/size.ts';
import type { ModelBuilder } from './layers.ts';
import { type AdamWState, createAdamWState } from './optimizer/adamw.ts';
import {
  initialiseParameters,
  type ParameterSpec,
  type ParameterVector,
  zeroParameters,
} from './optimizer/flat-parameters.ts';
import { type OptimizerStepOptions, optimizerStep } from './optimizer/optimizer-step.ts';
import type { ComputeOptions } from './runtime/device.ts';
import { type GraphSession, openSession, type Tensors } from './runtime/session.ts';
import { float32Tensor } from './runtime/tensors.ts';

/**
 * One training step as one graph: the model, its loss, and the reverse sweep.
 *
 * @param loss scalar [] on `g`.
 * @returns a graph with the outputs `loss`, `gradient:NAME` for each parameter of `g`, and those that `g` already had.
 * @throws FloodgateError `graph` when the loss is no scalar or does not depend on a parameter.
 */
export function buildTrainingGraph(g: ModelBuilder, loss: Value): Graph {
  if (loss.shape.length > 0) {
    throw new FloodgateError(
      'graph',
      `build training graph: the loss has the shape ${shapeKey(loss.shape)}, expected a scalar []`,
    );
  }
  g.output('loss', loss);
  backward(g, [{ output: loss, gradient: g.scalar(1) }], g.parameterValues).forEach((gradient, i) => {
    g.output(gradientOutput(g.parameterSpecs[i]?.name as string), gradient);
  });
  return g.build();
}

export interface TrainerOptions extends Partial<ComputeOptions> {
  /** Seed of the initial parameters. */
  readonly seed: number;
  /** For messages. */
  readonly label?: string;
}

export interface TrainingStep {
  /** The loss before the step. */
  readonly loss: number;
  /** Global norm of the gradient before clipping. */
  readonly gradientNorm: number;
}

/**
 * A network in training: its graph in one ONNX Runtime session, parameters, gradient and optimizer state.
 * Close it. `parameters.data` and `optimizer` together are a checkpoint.
 */
export class Trainer {
  readonly graph: Graph;
  readonly parameters: ParameterVector;
  readonly optimizer: AdamWState;
  private readonly session: GraphSession;
  private readonly gradients: ParameterVector;
  private readonly loss = new Float32Array(1);

  constructor(graph: Graph, session: GraphSession, specs: readonly ParameterSpec[]) {
    this.graph = graph;
    this.session = session;
    this.parameters = zeroParameters(specs);
    this.gradients = zeroParameters(specs);
    this.optimizer = createAdamWState(this.parameters.data.length);
  }

  /** Gradient of the latest run, flat, in the order of `parameters.data`. */
  get gradient(): Float32Array {
    return this.gradients.data;
  }

  /** Every input of the graph: the parameters as they are now, and `inputs`. */
  feeds(inputs: Tensors): Tensors {
    return { ...this.parameters.tensors, ...inputs };
  }

  /** Runs forward and backward, leaves the result in `gradient`, and returns the loss. */
  async differentiate(inputs: Tensors): Promise<number> {
    const gradients = Object.entries(this.gradients.tensors).map(([name, tensor]) => [gradientOutput(name), tensor]);
    await this.session.run(this.feeds(inputs), {
      ...Object.fromEntries(gradients),
      loss: float32Tensor(this.loss, []),
    });
    return this.loss[0] as number;
  }

  /** One step on a batch: gradient, clipping, AdamW. @throws FloodgateError `run` when the gradient is not finite. */
  async step(inputs: Tensors, options: OptimizerStepOptions): Promise<TrainingStep> {
    const loss = await this.differentiate(inputs);
    return { loss, gradientNorm: optimizerStep(this, this.optimizer, options) };
  }

  /** All outputs of the graph at the present parameters; trains nothing. */
  async evaluate(inputs: Tensors): Promise<Tensors> {
    return this.session.run(this.feeds(inputs));
  }

  async close(): Promise<void> {
    await this.session.close();
  }
}

/**
 * Opens a network for training, its parameters started from the seed.
 *
 * @param loss scalar [] on `g`; outputs that `g` already has can be read by `evaluate`.
 * @throws FloodgateError `graph` when `buildTrainingGraph` refuses the loss, `runtime` when the device is missing.
 */
export async function openTrainer(g: ModelBuilder, loss: Value, options: TrainerOptions): Promise<Trainer> {
  const { seed, label = 'trainer', device = 'cpu', threads = 1 } = options;
  const graph = buildTrainingGraph(g, loss);
  const session = await openSession(graph, { label, device, threads, prepack: false });
  const trainer = new Trainer(graph, session, g.parameterSpecs);
  initialiseParameters(trainer.parameters, seed);
  return trainer;
}
