import { describe, expect, it } from 'vitest';
import { openTextEncoder } from '../../src/models/encoder/text-encoder.ts';
import { type GoldenTensor, goldenFloat32, readGolden } from '../support/golden-file.ts';
import { modelFixture } from '../support/model-fixture.ts';
import { cpu, openEncoderFolder } from './open-fixture.ts';

interface MiniLmGolden {
  readonly sentences: readonly string[];
  readonly ids: readonly (readonly number[])[];
  readonly embeddings: GoldenTensor;
}

describe('all-MiniLM-L6-v2 against transformers', () => {
  it('gives the same embeddings, cosine at least 0.9999', async () => {
    const { sentences, ids, embeddings } = await readGolden<MiniLmGolden>('models', 'minilm-l6-v2');
    const checkpoint = await openEncoderFolder(await modelFixture('minilm'));
    const tokens = sentences.map((text) => checkpoint.tokenizer.encode(text, { addSpecial: true }));
    expect(tokens.map((row) => row.slice(0, 255))).toEqual(ids.map((row) => row.slice(0, 255)));
    await using encoder = await openTextEncoder(checkpoint, { runtime: cpu });
    expect(encoder.width).toBe(384);
    const actual = await encoder.embed(sentences);
    const expected = goldenFloat32(embeddings);
    const cosines = sentences.map((_, row) =>
      actual
        .subarray(row * 384, (row + 1) * 384)
        .reduce((sum, x, i) => sum + x * (expected[row * 384 + i] as number), 0),
    );
    expect(Math.min(...cosines)).toBeGreaterThan(0.9999);
    expect(Math.max(...cosines)).toBeLessThan(1.0001);
  });
});
