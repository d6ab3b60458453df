import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { openJudge } from '../../../src/judges/registry.ts';
import { createOpenModels } from '../../../src/models/open-models.ts';
import { testPath } from '../../support/golden-file.ts';

const options = { cacheDir: path.join(tmpdir(), 'floodgate-test-weights'), threads: 1 };
const fixture = (name: string): string => testPath('fixtures', 'models', name);
const { openDecoder, openEncoder, judges } = createOpenModels(options);
const classifierSpec = { activation: 'softmax', labels: undefined, device: 'cpu' } as const;

afterAll(() => expect(liveSessionLabels()).toEqual([]));

describe('opening models of a campaign', () => {
  it('opens a language model, named as it was asked for', async () => {
    const checkpoint = await openDecoder(fixture('smollm2'), 'target');
    expect(checkpoint).toMatchObject({ kind: 'decoder', spec: fixture('smollm2'), config: { family: 'llama' } });
  });

  it.each(['bert-encoder', 'onnx-encoder'])('opens a sentence encoder: %s', async (name) => {
    const { encoder, entry } = await openEncoder(fixture(name), 'cpu');
    const vectors = await encoder.embed(['a b', 'c']);
    await encoder.close();
    expect(vectors).toHaveLength(2 * encoder.width);
    const sha256 = expect.stringMatching(/^[0-9a-f]{64}$/);
    expect(entry).toEqual({ spec: fixture(name), sha256, filesSha256: sha256 });
    for (const row of [vectors.subarray(0, encoder.width), vectors.subarray(encoder.width)]) {
      expect(Math.hypot(...row)).toBeCloseTo(1, 5);
    }
  });

  it.each(['bert-classifier', 'roberta-classifier', 'onnx-classifier'])('opens a classifier: %s', async (name) => {
    const classifier = await judges.openTextClassifier({ ...classifierSpec, model: fixture(name) });
    const [row = new Float32Array()] = await classifier.classify([{ text: 'a', textPair: 'b c' }]);
    await classifier.close();
    expect(row).toHaveLength(classifier.labels.length);
    expect(row.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5);
  });

  it('gives each activation as asked for', async () => {
    const rows: number[][] = [];
    for (const activation of ['softmax', 'sigmoid'] as const) {
      const spec = { ...classifierSpec, activation, model: fixture('bert-classifier') };
      const classifier = await judges.openTextClassifier(spec);
      rows.push([...((await classifier.classify([{ text: 'a' }]))[0] ?? [])]);
      await classifier.close();
    }
    const logits = (rows[1] ?? []).map((p) => Math.log(p / (1 - p)));
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    for (const [i, logit] of logits.entries()) {
      expect(Math.exp(logit) / total).toBeCloseTo(rows[0]?.[i] ?? Number.NaN, 5);
    }
  });

  it('opens a classifier and a guard in int8, near fp32', async () => {
    const probabilities = async (precision: 'fp32' | 'int8') => {
      const classifier = await judges.openTextClassifier({
        ...classifierSpec,
        model: fixture('roberta-classifier'),
        precision,
      });
      const [row = new Float32Array()] = await classifier.classify([{ text: 'a', textPair: 'b c' }]);
      await classifier.close();
      const scorer = await judges.openLabelScorer({ model: fixture('smollm2'), device: 'cpu', precision });
      const [labels = []] = await scorer.scoreLabels(['is it safe? '], ['safe', 'unsafe']);
      await scorer.close();
      return [...row, ...labels];
    };
    const [exact, coarse] = [await probabilities('fp32'), await probabilities('int8')];
    expect(coarse).not.toEqual(exact);
    for (const [i, value] of exact.entries())
      expect(Math.abs((coarse[i] as number) - value)).toBeLessThan(0.02 * (1 + Math.abs(value)));
  });

  it('opens a guard judge over a language model', async () => {
    const judge = await openJudge(
      { kind: 'guard', model: fixture('gpt2'), format: 'llama-guard-3', controversialWeight: 0.5, device: 'cpu' },
      { models: judges },
    );
    const [verdict] = await judge.score([{ attack: 'a', response: 'b' }]);
    await judge.close();
    // The guard's prompt is longer than the fixture's context, which must not read as safe.
    expect(verdict).toMatchObject({ kind: 'unscored' });
  });

  it('scores labels with a language model', async () => {
    const scorer = await judges.openLabelScorer({ model: fixture('smollm2'), device: 'cpu' });
    const [row = []] = await scorer.scoreLabels(['is it safe? '], ['safe', 'unsafe']);
    await scorer.close();
    for (const logProb of row) expect(logProb).toBeLessThan(0);
  });
});

describe('a model of the wrong kind is refused, named by what it is', () => {
  const wrong = (promise: Promise<unknown>, message: RegExp) =>
    expect(promise).rejects.toMatchObject({ code: 'config', message: expect.stringMatching(message) });

  it('as target or attacker', async () => {
    const open = (name: string) => openDecoder(fixture(name), 'target');
    await wrong(open('bert-encoder'), /as target: it is a sentence encoder \(bert\), expected a language model/);
    await wrong(open('bert-classifier'), /as target: it is a classifier of \S.*, expected a language model/);
    await wrong(open('onnx-classifier'), /as target: it is an ONNX file, expected a language model/);
  });

  it('as encoder', async () => {
    await wrong(openEncoder(fixture('gpt2'), 'cpu'), /as encoder: it is a language model \(gpt2\)/);
    await wrong(openEncoder(fixture('bert-classifier'), 'cpu'), /as encoder: it is a classifier of/);
  });

  it('as ONNX file of the other kind', async () => {
    const code = 'model';
    await expect(openEncoder(fixture('onnx-classifier'), 'cpu')).rejects.toMatchObject({ code });
    const spec = { ...classifierSpec, model: fixture('onnx-encoder') };
    await expect(judges.openTextClassifier(spec)).rejects.toMatchObject({ code });
  });

  it('in int8 elsewhere than on the CPU', async () => {
    const elsewhere = { model: fixture('smollm2'), device: 'webgpu', precision: 'int8' } as const;
    await wrong(
      judges.openTextClassifier({ ...classifierSpec, ...elsewhere }),
      /in int8: it is for the CPU, got webgpu/,
    );
    await wrong(judges.openLabelScorer(elsewhere), /in int8: it is for the CPU, got webgpu/);
  });

  it('as an ONNX file in int8', async () => {
    const spec = { ...classifierSpec, model: fixture('onnx-classifier'), precision: 'int8' } as const;
    await wrong(judges.openTextClassifier(spec), /in int8: it is an ONNX file, expected safetensors/);
  });

  it('as judge', async () => {
    const open = (name: string) => judges.openTextClassifier({ ...classifierSpec, model: fixture(name) });
    await wrong(open('smollm2'), /as classifier judge: it is a language model \(llama\), expected a text classifier/);
    await wrong(open('bert-encoder'), /as classifier judge: it is a sentence encoder/);
    await wrong(judges.openLabelScorer({ model: fixture('bert-encoder'), device: 'cpu' }), /as guard judge/);
  });
});

it('says how to bring a model that is not here', async () => {
  const empty = { ...options, cacheDir: path.join(tmpdir(), 'floodgate-no-models') };
  await expect(createOpenModels(empty).openDecoder('smollm2-135m-instruct', 'target')).rejects.toMatchObject({
    code: 'source',
    hint: 'floodgate models pull smollm2-135m-instruct',
  });
});
