// A two-layer transformer learns a short text, character by character, and then recites it.
// Run after `npm run build`: node examples/engine/transformer-lm.mjs
import * as engine from 'floodgate/engine';

const TEXT = `A river does not ask the hill for leave. It finds the lowest place and waits there.
When the rain is long, the water climbs; when the gate is low, the water goes over. `;
const [SEED, UPDATES, BATCH, T, WIDTH, HEADS, LAYERS] = [7, 200, 8, 24, 32, 2, 2];
const alphabet = [...new Set(TEXT)].sort();
const text = [...TEXT].map((character) => alphabet.indexOf(character));
const tensor = (/** @type {number[][]} */ rows) => engine.int64Tensor(rows.flat(), [rows.length, T]);

/** Rows of T characters, and for each character the one after it. @param {string} name @param {number} update */
function drawBatch(name, update, size = BATCH) {
  const stream = engine.randomStream(SEED, name, update);
  const starts = Array.from({ length: size }, () => stream.nextInt(text.length - T));
  const rows = (/** @type {number} */ by) => tensor(starts.map((start) => text.slice(start + by, start + by + T)));
  return { ids: rows(0), targets: rows(1) };
}

const g = new engine.ModelBuilder();
const [B, V] = [engine.symbolSize('B'), alphabet.length];
const ids = g.input('ids', 'int64', [B, T]);
const characters = engine.embedding(g, 'characters', ids, { rows: V, width: WIDTH });
let x = g.add(characters, g.parameter('positions', [T, WIDTH])); // [B, T, D]
for (let layer = 0; layer < LAYERS; layer++) {
  const name = `layers.${layer}`;
  x = g.add(x, engine.causalAttention(g, `${name}.attention`, engine.layerNorm(g, `${name}.norm1`, x), HEADS));
  const wide = engine.linear(g, `${name}.up`, engine.layerNorm(g, `${name}.norm2`, x), 4 * WIDTH); // [B, T, 4D]
  x = g.add(x, engine.linear(g, `${name}.down`, g.gelu(wide, 'tanh'), WIDTH));
}
const logits = engine.linear(g, 'head', engine.layerNorm(g, 'norm', x), V); // [B, T, V]
g.output('logits', logits);
const loss = engine.crossEntropy(g, logits, g.input('targets', 'int64', [B, T]));

const trainer = await engine.openTrainer(g, loss, { seed: SEED });
const few = drawBatch('check', 0, 1);
export const check = engine.checkGradients(trainer.graph, trainer.feeds(few), { elements: 1 });
console.log(`gradient check: largest relative error ${check.largest.toExponential(1)}`);

const rate = /** @type {const} */ ({ peak: 5e-3, warmupUpdates: 20, decay: 'linear', totalUpdates: UPDATES });
export const losses = /** @type {number[]} */ ([]);
for (let update = 0; update < UPDATES; update++) {
  const options = { learningRate: engine.learningRateAt(rate, update), gradientClip: 1, weightDecay: 0.01 };
  losses.push((await trainer.step(drawBatch('train', update), options)).loss);
  if (update % 50 === 49) console.log(`update ${update + 1}: loss ${losses[update]?.toFixed(3)} nats a character`);
}
export const parameters = trainer.parameters.data;
const written = text.slice(0, T); // then always the likeliest character
while (written.length < 100) {
  const outputs = await trainer.evaluate({ ...few, ids: tensor([written.slice(-T)]) });
  const last = engine.float32Data(outputs.logits).subarray((T - 1) * V); // [V]
  written.push(last.indexOf(last.reduce((a, b) => Math.max(a, b))));
}
console.log(written.map((id) => alphabet[id]).join(''));
await trainer.close();
