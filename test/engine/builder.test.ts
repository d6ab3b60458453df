import { describe, expect, it } from 'vitest';
import { interpret } from '../../src/engine/check/reference-interpreter.ts';
import { floatsOf, floatTensor } from '../../src/engine/check/reference-tensor.ts';
import { backward } from '../../src/engine/graph/backward.ts';
import { GraphBuilder } from '../../src/engine/graph/builder.ts';
import type { Value } from '../../src/engine/graph/ops.ts';
import { multiplySizes, type Shape, symbolSize } from '../../src/engine/graph/size.ts';
import { writeOnnx } from '../../src/engine/onnx/onnx-writer.ts';

const B = symbolSize('B');
const T = symbolSize('T');

function values(...shapes: Shape[]): [GraphBuilder, ...Value[]] {
  const g = new GraphBuilder();
  return [g, ...shapes.map((shape, i) => g.input(`x${i}`, 'float32', shape, { trainable: true }))];
}

describe('shape inference refuses', () => {
  const refused: readonly [string, string, readonly Shape[], (g: GraphBuilder, x: Value[]) => unknown][] = [
    [
      'a symbol against a number',
      'do not broadcast',
      [
        [B, 3],
        [2, 3],
      ],
      (g, [a, b]) => g.add(a as Value, b as Value),
    ],
    ['two different symbols', 'do not broadcast', [[B], [T]], (g, [a, b]) => g.multiply(a as Value, b as Value)],
    [
      'inner sizes that differ',
      'inner sizes',
      [
        [2, 3],
        [2, 3],
      ],
      (g, [a, b]) => g.matmul(a as Value, b as Value),
    ],
    ['a vector in matmul', 'rank below 2', [[3], [3, 2]], (g, [a, b]) => g.matmul(a as Value, b as Value)],
    [
      'a weight in the other layout',
      'does not fit weight',
      [
        [B, 4],
        [5, 4],
      ],
      (g, [a, b]) => g.linear(a as Value, b as Value, 'inOut'),
    ],
    [
      'rank 3 in linear',
      'expected [N, in]',
      [
        [B, T, 4],
        [5, 4],
      ],
      (g, [a, b]) => g.linear(a as Value, b as Value, 'outIn'),
    ],
    ['another element count', 'as many elements', [[B, 4]], (g, [a]) => g.reshape(a as Value, [B, 5])],
    [
      'a ragged concat',
      'does not fit',
      [
        [B, 4],
        [T, 4],
      ],
      (g, [a, b]) => g.concat([a as Value, b as Value], 1),
    ],
    ['parts that do not sum up', 'do not sum', [[B, 4]], (g, [a]) => g.split(a as Value, 1, [2, 3])],
  ];
  it.each(refused)('%s', (_name, message, shapes, build) => {
    const [g, ...inputs] = values(...shapes);
    expect(() => build(g, inputs)).toThrow(message);
  });

  it('an input name given twice, and a graph without outputs', () => {
    const [g] = values([2]);
    expect(() => g.input('x0', 'float32', [2])).toThrow('x0 is taken');
    expect(() => g.build()).toThrow('no output');
  });
});

describe('backward refuses', () => {
  it('a seed of another shape', () => {
    const [g, x] = values([B, 3]) as [GraphBuilder, Value];
    const seed = g.input('seed', 'float32', [B, 1]);
    expect(() => backward(g, [{ output: g.unary('exp', x), gradient: seed }], [x])).toThrow('does not fit');
  });

  it('an op without a gradient on the path', () => {
    const [g, x] = values([3]) as [GraphBuilder, Value];
    const seed = g.input('seed', 'float32', [3]);
    expect(() => backward(g, [{ output: g.clip(x, 0, 1), gradient: seed }], [x])).toThrow('clip has no gradient');
  });

  it('a parameter that the seeds do not reach', () => {
    const [g, x, other] = values([3], [3]) as [GraphBuilder, Value, Value];
    const seed = g.input('seed', 'float32', [3]);
    expect(() => backward(g, [{ output: g.unary('exp', x), gradient: seed }], [other])).toThrow('no path');
  });

  it('a gradient into an output that its rule would leave out', () => {
    const [g, logits] = values([2, 5]) as [GraphBuilder, Value];
    const ids = g.constant('int64', [2], BigInt64Array.of(1n, 2n));
    const [picked, all] = g.apply({ kind: 'tokenLogProb' }, [logits, ids]) as [Value, Value];
    const seeds = [picked, all].map((output, i) => ({
      output,
      gradient: g.input(`seed${i}`, 'float32', output.shape),
    }));
    expect(() => backward(g, seeds, [logits])).toThrow('tokenLogProb: output 1');
  });
});

describe('detach', () => {
  it('lets no gradient through: the other factor alone is differentiated', () => {
    const [g, x] = values([B]) as [GraphBuilder, Value];
    const seed = g.input('seed', 'float32', [B]);
    const y = g.multiply(x, g.detach(g.unary('exp', x)));
    g.output('gradient', backward(g, [{ output: y, gradient: seed }], [x])[0] as Value);
    const feeds = { x0: floatTensor([2], [0.5, -1]), seed: floatTensor([2], [1, 2]) };
    const { gradient } = interpret(g.build(), feeds);
    expect([...floatsOf(gradient)]).toEqual([Math.exp(0.5), 2 * Math.exp(-1)]);
  });
});

describe('writeOnnx', () => {
  it('refuses a size that no input axis measures', () => {
    const [g, x] = values([1, 3]) as [GraphBuilder, Value];
    g.output('y', g.expand(x, [B, 3]));
    expect(() => writeOnnx(g.build())).toThrow('no input axis has the size B');
  });

  it('declares the shape of every value between inputs and outputs', () => {
    const g = new GraphBuilder();
    const x = g.input('x', 'float32', [B, T, 3]);
    const flat = g.reshape(x, [multiplySizes(B, T), 3]); // two sizes that the runtime cannot multiply
    const [left, right] = g.split(g.unary('exp', flat), 1, [1, 2]) as [Value, Value];
    const ids = g.input('ids', 'int64', [multiplySizes(B, T)]);
    g.output('y', g.tokenLogProb(g.multiply(left, right), ids));
    const declared = declaredShapes(writeOnnx(g.build()));
    // reshape, exp, both parts, their product and all its log-probs
    expect(declared).toEqual(['[1B*T,3]', '[1B*T,3]', '[1B*T,1]', '[1B*T,2]', '[1B*T,2]', '[1B*T,2]']);
  });
});

/** The fields of a protobuf message: numbers, and the bytes of everything longer. */
function fieldsOf(bytes: Uint8Array): { readonly field: number; readonly value: number | Uint8Array }[] {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] as number;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  const fields = [];
  while (at < bytes.length) {
    const tag = varint();
    if ((tag & 7) === 0) fields.push({ field: tag >> 3, value: varint() });
    else {
      const length = (tag & 7) === 5 ? 4 : varint();
      fields.push({ field: tag >> 3, value: bytes.subarray(at, at + length) });
      at += length;
    }
  }
  return fields;
}

/** Shapes of the values that the graph of an ONNX file declares (`value_info`, field 13), in order. */
function declaredShapes(onnx: Uint8Array): string[] {
  const inside = (message: Uint8Array, field: number): Uint8Array[] =>
    fieldsOf(message).flatMap((found) => (found.field === field ? [found.value as Uint8Array] : []));
  const [graph] = inside(onnx, 7);
  return inside(graph as Uint8Array, 13).map((info) => {
    const [shape] = [2, 1, 2].reduce<Uint8Array[]>(
      (messages, field) => messages.flatMap((m) => inside(m, field)),
      [info],
    );
    const sizes = inside(shape as Uint8Array, 1).map((dim) => {
      const [{ field, value } = { field: 0, value: 0 }] = fieldsOf(dim);
      return field === 1 ? String(value) : new TextDecoder().decode(value as Uint8Array);
    });
    return `[${sizes.join(',')}]`;
  });
}

it('refuses an int8 product whose weight is no constant', () => {
  const g = new GraphBuilder();
  const [x, scales] = [g.input('x', 'float32', [B, 3]), g.constant('float32', [2], Float32Array.of(1, 1))];
  expect(() => g.int8Linear(x, g.input('weight', 'int8', [3, 2]), scales)).toThrow('expected a constant');
});
