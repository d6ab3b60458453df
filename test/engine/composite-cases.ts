import type { Value } from '../../src/engine/graph/ops.ts';
import { addSizes, multiplySizes, symbolSize } from '../../src/engine/graph/size.ts';
import { type OpCase, opCase } from './op-check.ts';

const B = symbolSize('B');
const T = symbolSize('T');
const symbols = { B: 2, T: 3 };
const rows = multiplySizes(B, T);

/** `[B + T]` sizes, values used more than once, and a transformer block: what single ops cannot show. */
export const compositeCases: readonly OpCase[] = [
  opCase('a value used twice', {
    inputs: { x: { shape: [B, 3] } },
    symbols,
    build: (g, { x }) => g.add(g.multiply(x, x), g.unary('tanh', x)),
  }),
  opCase('an output used again', {
    inputs: { x: { shape: [B, 3] } },
    symbols,
    build: (g, { x }) => {
      const first = g.unary('exp', x);
      return [first, g.multiply(first, g.unary('sigmoid', first))];
    },
    seeded: [0, 1],
  }),
  opCase('keys of a shared prompt, size B + T', {
    inputs: { prompt: { shape: [1, T, 4] }, keys: { shape: [B, B, 4] }, query: { shape: [B, 2, 4] } },
    symbols,
    build: (g, { prompt, keys, query }) => {
      const all = g.concat([g.expand(prompt, [B, T, 4]), keys], 1);
      const scores = g.matmul(query, all, { transposeB: true, scale: 0.5 });
      const attention = g.reshape(g.softmax(scores), [B, multiplySizes(2, addSizes(B, T))]);
      return g.matmul(g.reshape(attention, [B, 2, addSizes(B, T)]), all);
    },
  }),
  opCase('a transformer block with LoRA', {
    inputs: {
      x: { shape: [B, T, 6] },
      weight: { shape: [6, 18], trainable: false },
      down: { shape: [6, 2] },
      up: { shape: [2, 18] },
      norm: { shape: [6] },
      shift: { shape: [6] },
    },
    symbols,
    build: (g, { x, weight, down, up, norm, shift }) => {
      const flat = g.reshape(g.layerNorm(x, norm, shift, 1e-5), [rows, 6]);
      const adapted = g.linear(g.linear(flat, down, 'inOut'), up, 'inOut', g.linear(flat, weight, 'inOut'));
      const heads = g
        .split(adapted, 1, [6, 6, 6])
        .map((part) => g.transpose(g.reshape(part, [B, T, 2, 3]), [0, 2, 1, 3]));
      const [query, key, value] = heads as [Value, Value, Value];
      const mixed = g.matmul(g.softmax(g.matmul(query, key, { transposeB: true, scale: 0.5 })), value);
      const joined = g.reshape(g.transpose(mixed, [0, 2, 1, 3]), [B, T, 6]);
      return g.add(x, g.gelu(joined, 'tanh'));
    },
  }),
];
