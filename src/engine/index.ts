/**
 * `floodgate/engine`: training any small network in Node on ONNX Runtime.
 *
 * A network is a typed graph. `backward` appends its gradients as more nodes, so that a whole training step is one
 * ordinary ONNX graph. See README.md beside this file for a program of two dozen lines.
 *
 * @module floodgate/engine
 */

/** Errors with a stable code, and seeded random streams by name. */
export { type ErrorCode, FloodgateError } from '../base/errors.ts';
export { type RandomStream, randomStream } from '../base/random.ts';
/** Checking: gradients against central differences in float64. */
export {
  checkGradients,
  type GradientCheck,
  type GradientCheckOptions,
  gradientOutput,
} from './check/gradient-check.ts';
/** Graphs: typed nodes whose shapes are checked while building; sizes may be symbols such as the batch. */
export { backward } from './graph/backward.ts';
export { type Graph, GraphBuilder, type GraphInput, type Initializer, type InitializerData } from './graph/builder.ts';
export type { BinaryKind, Dtype, GraphNode, LinearLayout, Op, OpKind, UnaryKind, Value } from './graph/ops.ts';
export { addSizes, multiplySizes, type Shape, type Size, subtractSizes, symbolSize } from './graph/size.ts';
/** Layers over the builder, each a function; and a trainer that holds graph, parameters and optimizer. */
export { causalAttention, crossEntropy, embedding, layerNorm, linear, ModelBuilder } from './layers.ts';
/** ONNX: the bytes of a model, which any ONNX runtime reads. */
export { writeOnnx } from './onnx/onnx-writer.ts';
/** Optimizing: one flat float32 vector of all parameters, AdamW, clipping, schedules in updates. */
export {
  ADAMW_DEFAULTS,
  type AdamWOptions,
  type AdamWState,
  adamwUpdate,
  clipGradient,
  createAdamWState,
  type RateSegment,
} from './optimizer/adamw.ts';
export {
  initialiseParameters,
  type ParameterSpec,
  type ParameterVector,
  parameterView,
  zeroParameters,
} from './optimizer/flat-parameters.ts';
export { type OptimizerStepOptions, optimizerStep, type Trained } from './optimizer/optimizer-step.ts';
export { type LearningRateRule, type LinearSchedule, learningRateAt, scheduleAt } from './optimizer/schedules.ts';
/** Running: one session a graph, closed by whoever opened it. */
export { type ComputeOptions, DEVICES, type Device, defaultThreads } from './runtime/device.ts';
export { measureMatmulRate } from './runtime/matmul-rate.ts';
export {
  GraphSession,
  liveSessionLabels,
  type OpenSessionOptions,
  openSession,
  openSessionFile,
  runtimeVersion,
  type Tensors,
} from './runtime/session.ts';
export { float32Data, float32Tensor, int32Tensor, int64Tensor, scalarTensor } from './runtime/tensors.ts';
export { buildTrainingGraph, openTrainer, Trainer, type TrainerOptions, type TrainingStep } from './trainer.ts';
