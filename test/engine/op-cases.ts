import type { RandomStream } from '../../src/base/random.ts';
import type { GraphBuilder } from '../../src/engine/graph/builder.ts';
import type { BinaryKind, OpKind, UnaryKind, Value } from '../../src/engine/graph/ops.ts';
import { multiplySizes, symbolSize } from '../../src/engine/graph/size.ts';
import { type OpCase, opCase } from './op-check.ts';

const B = symbolSize('B');
const T = symbolSize('T');
const symbols = { B: 2, T: 3 };
const rows = multiplySizes(B, T);

const positive = (stream: RandomStream): number => 0.5 + stream.nextFloat() * 2;
const awayFromZero = (stream: RandomStream): number => (stream.nextFloat() < 0.5 ? -1 : 1) * positive(stream);
const idBelow =
  (bound: number) =>
  (stream: RandomStream): number =>
    stream.nextInt(bound);

function unaryCases(kind: UnaryKind, draw?: (stream: RandomStream) => number): OpCase[] {
  const random = draw === undefined ? {} : { draw };
  return [
    opCase(`${kind} [2, 3]`, { inputs: { x: { shape: [2, 3], ...random } }, build: (g, { x }) => g.unary(kind, x) }),
    opCase(`${kind} [B, T, 2]`, {
      inputs: { x: { shape: [B, T, 2], ...random } },
      symbols,
      build: (g, { x }) => g.unary(kind, x),
    }),
  ];
}

function binaryCases(kind: BinaryKind): OpCase[] {
  const build = (g: GraphBuilder, { a, b }: { a: Value; b: Value }): Value => g[kind](a, b);
  const draw = awayFromZero;
  return [
    opCase(`${kind} same shape`, { inputs: { a: { shape: [2, 3] }, b: { shape: [2, 3], draw } }, build }),
    opCase(`${kind} row onto [B, T, 4]`, {
      inputs: { a: { shape: [B, T, 4] }, b: { shape: [4], draw } },
      symbols,
      build,
    }),
    opCase(`${kind} both sides broadcast`, {
      inputs: { a: { shape: [B, 1, 4] }, b: { shape: [T, 1], draw } },
      symbols,
      build,
    }),
    opCase(`${kind} scalar`, { inputs: { a: { shape: [] }, b: { shape: [B, 3], draw } }, symbols, build }),
    opCase(`${kind} column kept on the right`, {
      inputs: { a: { shape: [3] }, b: { shape: [B, 1], draw } },
      symbols,
      build,
    }),
  ];
}

function matmulCases(): OpCase[] {
  const cases: OpCase[] = [];
  for (const transposeA of [false, true]) {
    for (const transposeB of [false, true]) {
      const build =
        (scale: number) =>
        (g: GraphBuilder, { a, b }: { a: Value; b: Value }) =>
          g.matmul(a, b, { transposeA, transposeB, scale });
      const name = `matmul${transposeA ? ' A^T' : ''}${transposeB ? ' B^T' : ''}`;
      const [left, right] = [transposeA ? [4, T] : [T, 4], transposeB ? [5, 4] : [4, 5]];
      cases.push(
        opCase(name, { inputs: { a: { shape: left }, b: { shape: right } }, symbols, build: build(1) }),
        opCase(`${name} batched, scaled`, {
          inputs: { a: { shape: [B, 2, ...left] }, b: { shape: [B, 2, ...right] } },
          symbols,
          build: build(0.25),
        }),
        opCase(`${name} batch of A broadcast`, {
          inputs: { a: { shape: [1, 2, ...left] }, b: { shape: [B, 2, ...right] } },
          symbols,
          build: build(1),
        }),
        opCase(`${name} matrix B against batch A, scaled`, {
          inputs: { a: { shape: [B, ...left] }, b: { shape: right } },
          symbols,
          build: build(-1.5),
        }),
      );
    }
  }
  return cases;
}

function linearCases(): OpCase[] {
  return (['outIn', 'inOut'] as const).flatMap((layout) => {
    const weight = { shape: layout === 'outIn' ? [5, 4] : [4, 5] };
    const x = { shape: [rows, 4] };
    const measured = { rowsAndTokens: { shape: [B, T], trainable: false } };
    return [
      opCase(`linear ${layout}`, {
        inputs: { x: { shape: [B, 4] }, weight },
        symbols,
        build: (g, { x, weight }) => g.linear(x, weight, layout),
      }),
      opCase(`linear ${layout}, bias [out]`, {
        inputs: { ...measured, x, weight, bias: { shape: [5] } },
        symbols,
        build: (g, { x, weight, bias }) => g.linear(x, weight, layout, bias),
      }),
      opCase(`linear ${layout}, bias [N, out]`, {
        inputs: { x: { shape: [B, 4] }, weight, bias: { shape: [B, 5] } },
        symbols,
        build: (g, { x, weight, bias }) => g.linear(x, weight, layout, bias),
      }),
      opCase(`linear ${layout}, frozen weight`, {
        inputs: { x: { shape: [B, 4] }, weight: { ...weight, trainable: false } },
        symbols,
        build: (g, { x, weight }) => g.linear(x, weight, layout),
      }),
    ];
  });
}

function reduceCases(kind: 'reduceSum' | 'reduceMean'): OpCase[] {
  const variants: readonly (readonly [string, readonly number[], boolean])[] = [
    ['last axis', [2], false],
    ['last axis, kept', [2], true],
    ['symbolic axis', [1], false],
    ['symbolic axis, kept', [1], true],
    ['symbolic and static axes', [0, 2], false],
    ['all axes', [0, 1, 2], false],
  ];
  return variants.map(([name, axes, keepDims]) =>
    opCase(`${kind} ${name}`, {
      inputs: { x: { shape: [B, T, 4] } },
      symbols,
      build: (g, { x }) => g[kind](x, axes, keepDims),
    }),
  );
}

function splitCases(): OpCase[] {
  const inputs = { x: { shape: [B, 7] } };
  const build = (g: GraphBuilder, { x }: { x: Value }): Value[] => g.split(x, 1, [2, 4, 1]);
  return [
    opCase('split, all parts used', { inputs, symbols, build, seeded: [0, 1, 2] }),
    opCase('split, an unused part', { inputs, symbols, build, seeded: [0, 2] }),
    opCase('split, only the last part used', { inputs, symbols, build, seeded: [2] }),
    opCase('split along symbols', {
      inputs: { a: { shape: [B, 2] }, b: { shape: [T, 2] } },
      symbols,
      build: (g, { a, b }) => g.split(g.concat([a, b, a], 0), 0, [B, T, B]),
      seeded: [0, 1],
    }),
  ];
}

const forwardOnly = { seeded: [] } as const;
const ids = { shape: [B, T], dtype: 'int64' as const, draw: idBelow(5) };
const rowIds = { shape: [B], dtype: 'int64' as const, draw: idBelow(5) };

/** Cases of every op; a forgotten op does not compile. */
export const opCases: { readonly [K in OpKind]: readonly OpCase[] } = {
  add: binaryCases('add'),
  subtract: binaryCases('subtract'),
  multiply: binaryCases('multiply'),
  divide: binaryCases('divide'),
  negate: unaryCases('negate'),
  exp: unaryCases('exp'),
  log: unaryCases('log', positive),
  tanh: unaryCases('tanh'),
  sigmoid: unaryCases('sigmoid'),
  erf: unaryCases('erf'),
  sqrt: unaryCases('sqrt', positive),
  abs: unaryCases('abs', awayFromZero),
  sign: unaryCases('sign').map((c) => ({ ...c, ...forwardOnly })),
  relu: unaryCases('relu', awayFromZero),
  clip: [
    opCase('clip', {
      inputs: { x: { shape: [B, 8] } },
      symbols,
      build: (g, { x }) => g.clip(x, -0.5, 0.75),
      ...forwardOnly,
    }),
  ],
  matmul: matmulCases(),
  linear: linearCases(),
  transpose: [
    opCase('transpose heads', {
      inputs: { x: { shape: [B, T, 2, 4] } },
      symbols,
      build: (g, { x }) => g.transpose(x, [0, 2, 1, 3]),
    }),
    opCase('transpose cycle', { inputs: { x: { shape: [2, 3, 4] } }, build: (g, { x }) => g.transpose(x, [2, 0, 1]) }),
  ],
  reshape: [
    opCase('reshape to rows', {
      inputs: { x: { shape: [B, T, 4] } },
      symbols,
      build: (g, { x }) => g.reshape(x, [rows, 4]),
    }),
    opCase('reshape to heads', {
      inputs: { x: { shape: [B, T, 4] } },
      symbols,
      build: (g, { x }) => g.reshape(x, [B, T, 2, 2]),
    }),
    opCase('reshape to scalar', { inputs: { x: { shape: [1, 1] } }, build: (g, { x }) => g.reshape(x, []) }),
  ],
  expand: [
    opCase('expand shared prompt', {
      inputs: { x: { shape: [1, 2, T] }, y: { shape: [B, 1], trainable: false } },
      symbols,
      build: (g, { x }) => g.expand(x, [B, 2, T]),
    }),
    opCase('expand to more axes', { inputs: { x: { shape: [3] } }, build: (g, { x }) => g.expand(x, [2, 4, 3]) }),
  ],
  concat: [
    opCase('concat on a symbolic axis', {
      inputs: { a: { shape: [B, 3, 2] }, b: { shape: [B, T, 2] } },
      symbols,
      build: (g, { a, b }) => g.concat([a, b], 1),
    }),
    opCase('concat one value twice', {
      inputs: { a: { shape: [B, 2] }, b: { shape: [B, 3] } },
      symbols,
      build: (g, { a, b }) => g.concat([a, b, a], 1),
    }),
  ],
  split: splitCases(),
  reduceSum: reduceCases('reduceSum'),
  reduceMean: reduceCases('reduceMean'),
  softmax: [
    opCase('softmax', { inputs: { x: { shape: [B, T, 5] } }, symbols, build: (g, { x }) => g.softmax(x) }),
    opCase('softmax, masked', {
      inputs: { x: { shape: [B, T, 4] } },
      symbols,
      build: (g, { x }) => g.softmax(g.add(x, g.constant('float32', [4], Float32Array.of(0, 0, -1e9, 0)))),
    }),
  ],
  logSoftmax: [
    opCase('logSoftmax', { inputs: { x: { shape: [B, T, 5] } }, symbols, build: (g, { x }) => g.logSoftmax(x) }),
  ],
  layerNorm: [1e-12, 1e-5, 0.5].map((epsilon) =>
    opCase(`layerNorm, epsilon ${epsilon}`, {
      inputs: { x: { shape: [B, T, 6] }, weight: { shape: [6] }, bias: { shape: [6] } },
      symbols,
      build: (g, { x, weight, bias }) => g.apply({ kind: 'layerNorm', epsilon }, [x, weight, bias]),
    }),
  ),
  rmsNorm: [1e-6, 0.5].map((epsilon) =>
    opCase(`rmsNorm, epsilon ${epsilon}`, {
      inputs: { x: { shape: [B, T, 6] }, weight: { shape: [6] } },
      symbols,
      build: (g, { x, weight }) => g.apply({ kind: 'rmsNorm', epsilon }, [x, weight]),
    }),
  ),
  gelu: (['tanh', 'none'] as const).map((approximation) =>
    opCase(`gelu ${approximation}`, {
      inputs: { x: { shape: [B, T, 6], draw: (s) => 2 * s.nextNormal() } },
      symbols,
      build: (g, { x }) => g.gelu(x, approximation),
    }),
  ),
  silu: [
    opCase('silu', {
      inputs: { x: { shape: [B, T, 6], draw: (s) => 2 * s.nextNormal() } },
      symbols,
      build: (g, { x }) => g.silu(x),
    }),
  ],
  embedding: [
    opCase('embedding, ids repeat', {
      inputs: { table: { shape: [5, 3] }, ids },
      symbols,
      build: (g, { table, ids }) => g.embedding(table, ids),
    }),
  ],
  embeddingGradient: [
    opCase('embeddingGradient', {
      inputs: { gradient: { shape: [B, T, 3] }, ids },
      symbols,
      build: (g, { gradient, ids }) => g.apply({ kind: 'embeddingGradient', rows: 7 }, [gradient, ids]),
      ...forwardOnly,
    }),
  ],
  tokenLogProb: [
    opCase('tokenLogProb', {
      inputs: { logits: { shape: [B, 5], draw: (s) => 3 * s.nextNormal() }, ids: rowIds },
      symbols: { B: 6 },
      build: (g, { logits, ids }) => g.apply({ kind: 'tokenLogProb' }, [logits, ids]),
    }),
  ],
  tokenLogProbGradient: [
    opCase('tokenLogProbGradient', {
      inputs: { logits: { shape: [B, 5] }, ids: rowIds, gradient: { shape: [B] } },
      symbols,
      build: (g, { logits, ids, gradient }) =>
        g.apply({ kind: 'tokenLogProbGradient' }, [g.logSoftmax(logits), ids, gradient]),
      ...forwardOnly,
    }),
  ],
  rotary: [
    opCase('rotary', {
      inputs: {
        x: { shape: [B, T, 12] },
        positions: { shape: [B, T], dtype: 'int64', draw: idBelow(7) },
        cosine: { shape: [7, 2], trainable: false },
        sine: { shape: [7, 2], trainable: false },
      },
      symbols,
      build: (g, { x, positions, cosine, sine }) => g.rotary(x, positions, cosine, sine),
    }),
  ],
  int8Linear: [
    opCase('int8Linear', {
      inputs: {
        x: { shape: [B, 12] },
        scales: { shape: [5], draw: positive },
      },
      symbols: { B: 4 },
      build: (g, { x, scales }) => {
        const weights = Int8Array.from({ length: 60 }, (_, i) => ((i * 97) % 255) - 127); // -127 .. 127
        return g.int8Linear(x, g.constant('int8', [12, 5], weights), scales);
      },
      ...forwardOnly,
    }),
  ],
  cast: [
    opCase('cast to integers', {
      inputs: { x: { shape: [B, 4], draw: (s) => 9 * s.nextNormal() } },
      symbols,
      build: (g, { x }) => [g.cast(x, 'int64'), g.cast(x, 'int32')],
      ...forwardOnly,
    }),
    opCase('cast from int64', {
      inputs: { ids },
      symbols,
      build: (g, { ids }) => g.cast(ids, 'float32'),
      ...forwardOnly,
    }),
    opCase('cast through float16', {
      inputs: { x: { shape: [B, 8], draw: (s, i) => s.nextNormal() * 10 ** (i % 6) } },
      symbols,
      build: (g, { x }) => g.cast(g.cast(x, 'float16'), 'float32'),
      ...forwardOnly,
    }),
  ],
};
