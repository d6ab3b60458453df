import type { Tensor } from 'onnxruntime-node';
import { scalarTensor } from '../../engine/runtime/tensors.ts';
import type { Trainable } from './declare-model.ts';
import type { ParameterSpec } from './lora.ts';
import { type ParameterVector, zeroParameters } from './parameter-vector.ts';

/** Trained parameters, the gradient of the latest run, and its sum over the runs since it was cleared. */
export class TrainedVector {
  readonly parameters: ParameterVector;
  readonly gradient: Float32Array;
  /** Outputs `gradient:NAME` of a step graph, written in place. */
  readonly fetches: Readonly<Record<string, Tensor>>;
  private readonly latest: ParameterVector;
  private readonly loraScale: number | undefined;

  constructor(specs: readonly ParameterSpec[], trainable: Trainable) {
    this.parameters = zeroParameters(specs);
    this.latest = zeroParameters(specs);
    this.gradient = new Float32Array(this.parameters.data.length);
    this.fetches = Object.fromEntries(Object.entries(this.latest.tensors).map(([name, t]) => [`gradient:${name}`, t]));
    this.loraScale = trainable.kind === 'lora' ? trainable.spec.alpha / trainable.spec.rank : undefined;
  }

  /** The trained tensors as a graph takes them. */
  feeds(): Record<string, Tensor> {
    const scale = this.loraScale === undefined ? {} : { loraScale: scalarTensor(this.loraScale) };
    return { ...this.parameters.tensors, ...scale };
  }

  /** Adds what the latest run wrote. */
  accumulate(): void {
    const { data } = this.latest;
    for (let i = 0; i < data.length; i++) this.gradient[i] = (this.gradient[i] as number) + (data[i] as number);
  }
}
