import type { OpOf } from '../graph/ops.ts';
import { erf, mapElements } from './reference-elementwise.ts';
import { at, floatsOf, integersOf, mapRows, sumOf, type Tensor } from './tensor.ts';

export function softmax(x: Tensor): Tensor {
  return mapRows(x, (row) => {
    const largest = Math.max(...row);
    const powers = row.map((value) => Math.exp(value - largest));
    const total = sumOf(powers);
    return powers.map((power) => power / total);
  });
}

export function logSoftmax(x: Tensor): Tensor {
  return mapRows(x, (row) => {
    const largest = Math.max(...row);
    const logTotal = largest + Math.log(sumOf(row.map((value) => Math.exp(value - largest))));
    return row.map((value) => value - logTotal);
  });
}

export function layerNorm(op: OpOf<'layerNorm'>, inputs: readonly Tensor[]): Tensor[] {
  const [x, weight, bias] = inputs as [Tensor, Tensor, Tensor];
  const means: number[] = [];
  const inverses: number[] = [];
  const y = mapRows(x, (row) => {
    const mean = sumOf(row) / row.length;
    const variance = sumOf(row.map((value) => (value - mean) ** 2)) / row.length;
    const inverse = 1 / Math.sqrt(variance + op.epsilon);
    means.push(mean);
    inverses.push(inverse);
    return row.map((value, i) => (value - mean) * inverse * at(floatsOf(weight), i) + at(floatsOf(bias), i));
  });
  const shape = [...x.shape.slice(0, -1), 1];
  return [y, { shape, data: Float64Array.from(means) }, { shape, data: Float64Array.from(inverses) }];
}

export function rmsNorm(op: OpOf<'rmsNorm'>, inputs: readonly Tensor[]): Tensor[] {
  const [x, weight] = inputs as [Tensor, Tensor];
  const inverses: number[] = [];
  const y = mapRows(x, (row) => {
    const inverse = 1 / Math.sqrt(sumOf(row.map((value) => value * value)) / row.length + op.epsilon);
    inverses.push(inverse);
    return row.map((value, i) => value * inverse * at(floatsOf(weight), i));
  });
  return [y, { shape: [...x.shape.slice(0, -1), 1], data: Float64Array.from(inverses) }];
}

export function gelu(op: OpOf<'gelu'>, x: Tensor): Tensor {
  const cumulative =
    op.approximation === 'none'
      ? (v: number): number => (1 + erf(v / Math.sqrt(2))) / 2
      : (v: number): number => (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))) / 2;
  return mapElements(x, (v) => v * cumulative(v));
}

export function embedding(table: Tensor, ids: Tensor): Tensor {
  const width = at(table.shape, 1);
  const rows = integersOf(ids).map((id) => floatsOf(table).subarray(id * width, (id + 1) * width));
  return { shape: [...ids.shape, width], data: Float64Array.from(rows.flatMap((row) => [...row])) };
}

export function embeddingGradient(op: OpOf<'embeddingGradient'>, gradient: Tensor, ids: Tensor): Tensor {
  const width = at(gradient.shape, gradient.shape.length - 1);
  const data = new Float64Array(op.rows * width);
  integersOf(ids).forEach((id, position) => {
    for (let i = 0; i < width; i++) {
      data[id * width + i] = at(data, id * width + i) + at(floatsOf(gradient), position * width + i);
    }
  });
  return { shape: [op.rows, width], data };
}

export function tokenLogProb(logits: Tensor, ids: Tensor): Tensor[] {
  const all = logSoftmax(logits);
  const vocabulary = at(logits.shape, 1);
  const picked = integersOf(ids).map((id, row) => at(floatsOf(all), row * vocabulary + id));
  return [{ shape: ids.shape, data: Float64Array.from(picked) }, all];
}

export function tokenLogProbGradient(logProbs: Tensor, ids: Tensor, gradient: Tensor): Tensor {
  const wanted = integersOf(ids);
  return mapRows(logProbs, (row, n) =>
    row.map((logProb, v) => at(floatsOf(gradient), n) * ((v === at(wanted, n) ? 1 : 0) - Math.exp(logProb))),
  );
}

/** Each head's halves (i, i + K/2) of x [B, T, H*K] rotated by the angles of the token's position. */
export function rotary(inputs: readonly Tensor[]): Tensor {
  const [x, positions, cosine, sine] = inputs as [Tensor, Tensor, Tensor, Tensor];
  const half = at(cosine.shape, 1);
  const position = integersOf(positions);
  return mapRows(x, (row, token) =>
    row.map((value, i) => {
      const angle = at(position, token) * half + (i % half);
      const isFirstHalf = i % (2 * half) < half;
      const partner = isFirstHalf ? -at(row, i + half) : at(row, i - half);
      return value * at(floatsOf(cosine), angle) + partner * at(floatsOf(sine), angle);
    }),
  );
}
