// A small MLP learns XOR: whether a point's two coordinates differ in sign.
// Run after `npm run build`: node examples/engine/xor-mlp.mjs
import {
  checkGradients,
  crossEntropy,
  float32Tensor,
  int64Tensor,
  learningRateAt,
  linear,
  ModelBuilder,
  openTrainer,
  randomStream,
  symbolSize,
} from 'floodgate/engine';

const SEED = 7;
const UPDATES = 300;
const BATCH = 64;

/** Points of the square [-1, 1]^2 [B, 2] and their classes [B]. @param {string} name @param {number} update */
function drawBatch(name, update) {
  const stream = randomStream(SEED, name, update);
  const points = Array.from({ length: BATCH }, () => [2 * stream.nextFloat() - 1, 2 * stream.nextFloat() - 1]);
  const classes = points.map(([a = 0, b = 0]) => Number(a > 0 !== b > 0));
  return { x: float32Tensor(Float32Array.from(points.flat()), [BATCH, 2]), classes: int64Tensor(classes, [BATCH]) };
}

const g = new ModelBuilder();
const B = symbolSize('B');
const x = g.input('x', 'float32', [B, 2]);
const hidden = g.unary('tanh', linear(g, 'hidden', x, 16)); // [B, 16]
const logits = linear(g, 'output', hidden, 2); // [B, 2]
const loss = crossEntropy(g, logits, g.input('classes', 'int64', [B]));

const trainer = await openTrainer(g, loss, { seed: SEED });
export const check = checkGradients(trainer.graph, trainer.feeds(drawBatch('check', 0)));
console.log(`gradient check: largest relative error ${check.largest.toExponential(1)}`);

const rate = /** @type {const} */ ({ peak: 0.03, warmupUpdates: 10, decay: 'linear', totalUpdates: UPDATES });
/** @type {number[]} */
export const losses = [];
for (let update = 0; update < UPDATES; update++) {
  const options = { learningRate: learningRateAt(rate, update), gradientClip: 1, weightDecay: 0.01 };
  losses.push((await trainer.step(drawBatch('train', update), options)).loss);
  if ((update + 1) % 50 === 0) console.log(`update ${update + 1}: loss ${losses[update]?.toFixed(3)}`);
}
export const parameters = trainer.parameters.data;
await trainer.close();
