import { afterAll, describe, expect, it } from 'vitest';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import type { EncoderCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { createInputEncoder, type EncoderText } from '../../src/models/encoder/encoder-input.ts';
import { openTextClassifier } from '../../src/models/encoder/text-classifier.ts';
import { openTextEncoder } from '../../src/models/encoder/text-encoder.ts';
import { type GoldenTensor, goldenFloat32, readGolden } from '../support/golden-file.ts';
import { cpu, largestGap, openEncoderFixture } from './open-fixture.ts';

const TOLERANCE = 1e-5;

interface TextsGolden {
  readonly rows: readonly {
    readonly texts: readonly string[];
    readonly ids: number[];
    readonly tokenTypes: number[];
  }[];
  readonly outputs: GoldenTensor;
}
type Golden = Readonly<Record<string, TextsGolden>>;

const golden = await readGolden<Golden>('models', 'encoder-texts');
const classifiers = ['bert-classifier', 'roberta-classifier', 'distilbert-classifier'];

function goldenOf(name: string): TextsGolden & { readonly inputs: EncoderText[] } {
  const found = golden[name] as TextsGolden;
  const inputs = found.rows.map(({ texts: [text, textPair] }) => ({
    text: text as string,
    ...(textPair === undefined ? {} : { textPair }),
  }));
  return { ...found, inputs };
}

function inputEncoderOf({ config, tokenizer }: EncoderCheckpoint) {
  const { maxTokens, family } = config;
  return createInputEncoder({ tokenizer, maxTokens, hasDoubleSeparator: family === 'roberta' });
}

describe('texts and pairs of texts as token rows', () => {
  it.each(['bert-encoder', ...classifiers])('%s: ids and types as tokenizers frames and cuts them', async (name) => {
    const { rows, inputs } = goldenOf(name);
    const toInput = inputEncoderOf(await openEncoderFixture(name));
    for (const [i, { ids, tokenTypes }] of rows.entries()) {
      // DistilBERT has no types: what the row says about them is not fed.
      expect(toInput(inputs[i] as EncoderText), JSON.stringify(inputs[i])).toEqual({ ids, tokenTypes });
    }
  });

  it('reads control tokens written in a text as text', async () => {
    const checkpoint = await openEncoderFixture('bert-encoder');
    const { ids } = inputEncoderOf(checkpoint)({ text: 'a [SEP] b' });
    const separator = checkpoint.tokenizer.encode('', { addSpecial: true }).at(-1);
    expect(ids.indexOf(separator as number)).toBe(ids.length - 1);
  });

  it('refuses a window without room for text', async () => {
    const { tokenizer } = await openEncoderFixture('bert-encoder');
    const open = () => createInputEncoder({ tokenizer, maxTokens: 3, hasDoubleSeparator: false });
    expect(open).toThrow('leaves no room for text');
  });
});

describe('classifiers and sentence encoders from texts, against transformers in float64', () => {
  afterAll(() => expect(liveSessionLabels()).toEqual([]));

  it.each(classifiers)('%s: probabilities', async (name) => {
    const checkpoint = await openEncoderFixture(name);
    const { inputs, outputs } = goldenOf(name);
    await using classifier = await openTextClassifier(checkpoint, { runtime: cpu });
    expect(classifier.labels).toEqual(checkpoint.config.labels);
    const rows = await classifier.classify(inputs);
    expect(rows).toHaveLength(inputs.length);
    const flat = rows.flatMap((row) => [...row]);
    expect(largestGap(flat, goldenFloat32(outputs))).toBeLessThan(TOLERANCE);
  });

  it('takes an activation other than the checkpoint says', async () => {
    const checkpoint = await openEncoderFixture('bert-classifier');
    await using classifier = await openTextClassifier(checkpoint, { runtime: cpu, activation: 'softmax' });
    const [row] = await classifier.classify([{ text: 'hello' }]);
    expect(row?.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 6);
  });

  it('bert-encoder: embeddings; one by one as in a batch; none for none', async () => {
    const { inputs, outputs } = goldenOf('bert-encoder');
    await using encoder = await openTextEncoder(await openEncoderFixture('bert-encoder'), { runtime: cpu });
    const singles = inputs.flatMap(({ text, textPair }, i) => (textPair === undefined ? [{ text, i }] : []));
    const expected = singles.flatMap(({ i }) => [
      ...goldenFloat32(outputs).subarray(i * encoder.width, (i + 1) * encoder.width),
    ]);
    const texts = singles.map(({ text }) => text);
    const together = await encoder.embed(texts);
    expect(largestGap(together, expected)).toBeLessThan(TOLERANCE);
    const alone = await Promise.all(texts.map(async (text) => [...(await encoder.embed([text]))]));
    expect(largestGap(alone.flat(), together)).toBeLessThan(1e-6);
    expect(await encoder.embed([])).toEqual(new Float32Array(0));
  });

  it('refuses the wrong kind of checkpoint', async () => {
    const [encoder, classifier] = [
      await openEncoderFixture('bert-encoder'),
      await openEncoderFixture('bert-classifier'),
    ];
    await expect(openTextClassifier(encoder, { runtime: cpu })).rejects.toThrow('no classification head');
    await expect(openTextEncoder(classifier, { runtime: cpu })).rejects.toThrow('it is a classifier of toxic');
  });
});
