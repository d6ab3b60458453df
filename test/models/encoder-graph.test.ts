import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { liveSessionLabels, openSession } from '../../src/engine/runtime/session.ts';
import { float32Data, float32Tensor, int64Tensor } from '../../src/engine/runtime/tensors.ts';
import type { EncoderCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { buildEncoderGraph, positionIds } from '../../src/models/encoder/encoder-graph.ts';
import { padBatch } from '../../src/models/encoder/encoder-input.ts';
import { type GoldenTensor, goldenFloat32, readGolden } from '../support/golden-file.ts';
import { cpu, largestGap, openEncoderFixture } from './open-fixture.ts';

const TOLERANCE = 2e-5; // logits and hidden states are of size 1

interface EncoderGolden {
  readonly rows: readonly (readonly number[])[];
  readonly padId: number;
  readonly logits?: GoldenTensor;
  readonly lastHidden?: GoldenTensor;
  readonly embedding?: GoldenTensor;
}

/** All outputs of the graph over rows in one padded batch. */
async function runRows(checkpoint: EncoderCheckpoint, rows: EncoderGolden['rows'], padId: number) {
  const { config, weights } = checkpoint;
  const batch = padBatch(
    rows.map((ids) => ({ ids, tokenTypes: ids.map(() => 0) })),
    padId,
  );
  const shape = [batch.rows, batch.tokens];
  const weightFolder = path.dirname(weights.path);
  await using session = await openSession(buildEncoderGraph(config, weights), { ...cpu, label: 'test', weightFolder });
  const outputs = await session.run({
    ids: int64Tensor(batch.ids, shape),
    mask: float32Tensor(Float32Array.from(batch.mask), shape),
    positions: int64Tensor(positionIds(config, batch.tokens), [batch.tokens]),
    ...(config.tokenTypes > 0 ? { tokenTypes: int64Tensor(batch.tokenTypes, shape) } : {}),
  });
  return { outputs, tokens: batch.tokens };
}

describe('encoder graphs against transformers in float64', () => {
  afterAll(() => expect(liveSessionLabels()).toEqual([]));

  it.each(['bert-classifier', 'roberta-classifier', 'distilbert-classifier'])(
    '%s: logits of a padded batch',
    async (name) => {
      const golden = await readGolden<EncoderGolden>('models', name);
      const { outputs } = await runRows(await openEncoderFixture(name), golden.rows, golden.padId);
      expect(Object.keys(outputs)).toEqual(['logits']);
      expect(largestGap(float32Data(outputs.logits), goldenFloat32(golden.logits as GoldenTensor))).toBeLessThan(
        TOLERANCE,
      );
    },
  );

  it('bert-encoder: hidden states at tokens, and the normalised mean', async () => {
    const golden = await readGolden<EncoderGolden>('models', 'bert-encoder');
    const checkpoint = await openEncoderFixture('bert-encoder');
    const { outputs, tokens } = await runRows(checkpoint, golden.rows, golden.padId);
    const hidden = float32Data(outputs.lastHidden);
    const width = checkpoint.config.width;
    const atTokens = golden.rows.flatMap((ids, row) => [
      ...hidden.subarray(row * tokens * width, (row * tokens + ids.length) * width),
    ]);
    expect(largestGap(atTokens, goldenFloat32(golden.lastHidden as GoldenTensor))).toBeLessThan(TOLERANCE);
    expect(largestGap(float32Data(outputs.embedding), goldenFloat32(golden.embedding as GoldenTensor))).toBeLessThan(
      TOLERANCE,
    );
  });

  it('whatever stands in the padding changes nothing', async () => {
    const golden = await readGolden<EncoderGolden>('models', 'roberta-classifier');
    const checkpoint = await openEncoderFixture('roberta-classifier');
    const [one, other] = [
      await runRows(checkpoint, golden.rows, golden.padId),
      await runRows(checkpoint, golden.rows, 17),
    ];
    expect([...float32Data(other.outputs.logits)]).toEqual([...float32Data(one.outputs.logits)]);
  });

  it('a row of no tokens gives numbers, not NaN', async () => {
    const { outputs } = await runRows(await openEncoderFixture('bert-encoder'), [[]], 0);
    expect(float32Data(outputs.embedding).every((x) => x === 0)).toBe(true);
  });
});
