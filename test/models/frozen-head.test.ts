import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { multiplySizes, shapeKey } from '../../src/engine/graph/size.ts';
import { openSession } from '../../src/engine/runtime/session.ts';
import { float32Data, float32Tensor } from '../../src/engine/runtime/tensors.ts';
import { headPartFeed, headParts } from '../../src/models/decoder/frozen-head.ts';
import { TrainedVector } from '../../src/models/decoder/policy-forward.ts';
import { buildPolicyGraph, type PolicyGraphOptions, policyParameters } from '../../src/models/decoder/policy-graph.ts';
import { rowFeeds, type TokenRow } from '../../src/models/decoder/row-batch.ts';
import { B, R } from '../../src/models/decoder/shared-prefix.ts';
import { goldenModel, loadGoldenLora } from '../learning/loops/golden-step.ts';
import { relativeError } from '../support/golden-file.ts';

let folder: string;
let options: PolicyGraphOptions;
let trained: TrainedVector;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-head-'));
  const { model, config, weights } = await goldenModel('llama', folder);
  const spec = { rank: model.loraRank, alpha: model.loraRank * model.loraScale, targets: 'all-linear' } as const;
  const trainable = { kind: 'lora', spec } as const;
  options = { config, weights, trainable, bans: { always: [1], end: [2] }, contextTokens: 16, logZ: 'none' };
  trained = new TrainedVector(policyParameters(options), trainable);
  loadGoldenLora(model, trained.parameters);
});
afterAll(() => rm(folder, { recursive: true }));

/** Every output of a step whose head is computed in so many parts. */
async function outputsOf(rows: readonly TokenRow[], parts: number): Promise<Map<string, Float32Array>> {
  const n = rows.length;
  const place = { device: 'cpu', threads: 1, label: `head in ${parts}` } as const;
  const weightFolder = path.dirname(options.weights.path);
  const session = await openSession(buildPolicyGraph(options, parts), { ...place, weightFolder, prepack: false });
  try {
    const feeds = rowFeeds({ prompt: [3, 4], rows }, { minTokens: 1 });
    const outputs = await session.run({
      ...feeds,
      ...headPartFeed(parts, feeds.targetIds?.size ?? 0),
      ...trained.feeds(),
      logReward: float32Tensor(new Float32Array(n).fill(-3), [n]),
      pairWeight: float32Tensor(new Float32Array(n * n).fill(0.1), [n, n]),
      rowWeight: float32Tensor(new Float32Array(n).fill(0.5), [n]),
      directWeight: float32Tensor(
        Float32Array.from({ length: n }, (_, i) => i + 1),
        [n],
      ),
    });
    return new Map(Object.entries(outputs).map(([name, tensor]) => [name, float32Data(tensor)]));
  } finally {
    await session.close();
  }
}

describe('a frozen head in parts', () => {
  test.each<[string, TokenRow[]]>([
    ['one row of one token: all parts but the last are empty', [[5]]],
    ['fewer rows than parts', [[6, 7]]],
    ['rows that no part divides', [[5, 6, 7], [8], [9, 10]]],
    [
      'as many rows in every part',
      [
        [5, 6],
        [7, 8],
        [9, 10],
        [11, 12],
      ],
    ],
  ])('gives the log-probs and gradients of the head in one: %s', async (_, rows) => {
    const [whole, inParts] = [await outputsOf(rows, 1), await outputsOf(rows, 4)];
    expect([...inParts.keys()]).toEqual([...whole.keys()]);
    expect(whole.size).toBeGreaterThan(10);
    for (const [name, values] of whole)
      expect(relativeError(inParts.get(name) as Float32Array, [...values]), name).toBeLessThan(1e-5);
    expect(Math.max(...(inParts.get('logProb') as Float32Array))).toBeLessThan(0);
  });

  test('never holds a matrix of all rows by the vocabulary', () => {
    const whole = shapeKey([multiplySizes(B, R), options.config.vocabSize]);
    const shapesOf = (parts: number): string[] =>
      buildPolicyGraph(options, parts).nodes.flatMap(({ outputs }) => outputs.map(({ shape }) => shapeKey(shape)));
    expect(shapesOf(1)).toContain(whole);
    expect(shapesOf(4)).not.toContain(whole);
  });

  test('is for adapters alone, and for devices that take empty tensors', () => {
    expect(headParts('lora', 'cpu')).toBe(4);
    expect(headParts('full', 'cpu')).toBe(1);
    expect(headParts('lora', 'webgpu')).toBe(1);
  });
});
