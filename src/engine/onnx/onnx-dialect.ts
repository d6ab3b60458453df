/** Which nodes the graph's reader computes itself; without one, plainer nodes take its place. */
export interface OnnxDialect {
  /** Whether it writes the second output of SimplifiedLayerNormalization, the inverse root mean square. */
  readonly hasInverseRms: boolean;
  readonly hasFusedMatmul: boolean;
  readonly hasLogSoftmax: boolean;
}

/** The nodes of ONNX Runtime on the CPU. */
export const CPU_DIALECT: OnnxDialect = { hasInverseRms: true, hasFusedMatmul: true, hasLogSoftmax: true };
