import { GraphBuilder } from '../graph/builder.ts';
import { writeOnnx } from '../onnx/onnx-writer.ts';
import { dialectOf } from './device.ts';
import { float32Data, float32Tensor, onnxRuntime } from './tensors.ts';

/** Rows and inputs of the product that is tried. */
const ROWS = 16;
const INPUTS = 64;
/** Far above rounding, far below what saturation leaves out. */
const TOLERANCE = 1e-3;

async function trySaturation(): Promise<boolean> {
  const g = new GraphBuilder();
  const weight = g.constant('int8', [INPUTS, 1], new Int8Array(INPUTS).fill(127));
  const scales = g.constant('float32', [1], Float32Array.of(1 / (127 * INPUTS)));
  g.output('y', g.int8Linear(g.input('x', 'float32', [ROWS, INPUTS]), weight, scales));
  const session = await onnxRuntime().InferenceSession.create(writeOnnx(g.build(), dialectOf('cpu')), {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  try {
    const x = float32Tensor(new Float32Array(ROWS * INPUTS).fill(1), [ROWS, INPUTS]);
    const { y } = await session.run({ x }); // a mean of ones
    return float32Data(y).some((mean) => Math.abs(mean - 1) > TOLERANCE);
  } finally {
    await session.release();
  }
}

let known: Promise<boolean> | undefined;

/**
 * Whether the runtime's fast product of uint8 and int8 saturates at 16 bits here, and is then plainly wrong: on x64
 * processors without VNNI. The exact product takes three times as long where the fast one is right. It is tried once a
 * process, with the largest factors; a trial that failed is made again by the next call.
 */
export function int8ProductSaturates(): Promise<boolean> {
  known ??= trySaturation().catch((error: unknown) => {
    known = undefined;
    throw error;
  });
  return known;
}
