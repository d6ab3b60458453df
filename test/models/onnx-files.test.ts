import { copyFile, cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { loadOnnxModelFiles } from '../../src/models/encoder/onnx-model-files.ts';
import { openOnnxClassifier, openOnnxEncoder } from '../../src/models/encoder/open-onnx.ts';
import { type GoldenTensor, goldenFloat32, readGolden, testPath } from '../support/golden-file.ts';
import { cpu, largestGap } from './open-fixture.ts';

interface TextsGolden {
  readonly rows: readonly { readonly texts: readonly string[] }[];
  readonly outputs: GoldenTensor;
}

const golden = await readGolden<Record<string, TextsGolden>>('models', 'encoder-texts');
const classifierFolder = testPath('fixtures', 'models', 'onnx-classifier');
const encoderFolder = testPath('fixtures', 'models', 'onnx-encoder');
const folders: string[] = [];

/** A copy of the classifier's files to break. */
async function copiedClassifier(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'floodgate-onnx-'));
  folders.push(folder);
  await cp(classifierFolder, folder, { recursive: true });
  return folder;
}

afterAll(async () => {
  expect(liveSessionLabels()).toEqual([]);
  for (const folder of folders) await rm(folder, { recursive: true });
});

describe('ONNX files as they come, against the checkpoint they were exported from', () => {
  it.each([
    ['folder', classifierFolder],
    ['file', path.join(classifierFolder, 'onnx', 'model.onnx')],
  ])('classifier by its %s: labels, and probabilities of texts and pairs', async (_what, location) => {
    const { rows, outputs } = golden['bert-classifier'] as TextsGolden;
    await using classifier = await openOnnxClassifier(location, { runtime: cpu });
    expect(classifier.labels).toEqual(['toxic', 'insult', 'threat']);
    expect(classifier.activation).toBe('sigmoid');
    const inputs = rows.map(({ texts: [text, textPair] }) => ({
      text: text as string,
      ...(textPair === undefined ? {} : { textPair }),
    }));
    const probabilities = (await classifier.classify(inputs)).flatMap((row) => [...row]);
    expect(largestGap(probabilities, goldenFloat32(outputs))).toBeLessThan(1e-5);
  });

  it('encoder: token embeddings pooled and normalised', async () => {
    const { rows, outputs } = golden['bert-encoder'] as TextsGolden;
    await using encoder = await openOnnxEncoder(encoderFolder, { runtime: cpu });
    const texts = rows.flatMap(({ texts }) => (texts.length === 1 ? [texts[0] as string] : []));
    const expected = goldenFloat32(outputs).subarray(0, texts.length * encoder.width); // singles come first
    expect(largestGap(await encoder.embed(texts), expected)).toBeLessThan(1e-5);
  });
});

describe('ONNX files that do not fit are refused', () => {
  it('an encoder given as a classifier', async () => {
    await expect(openOnnxClassifier(encoderFolder, { runtime: cpu })).rejects.toThrow('expected float32 of rank 2');
  });

  it('labels that are not as many as the outputs', async () => {
    const folder = await copiedClassifier();
    await writeFile(path.join(folder, 'config.json'), '{}');
    const open = (labels: string[]) => openOnnxClassifier(folder, { runtime: cpu, labels });
    await expect(open(['a', 'b'])).rejects.toThrow('it has 3 outputs, but 2 labels are named');
    await using classifier = await open(['a', 'b', 'c']);
    expect(classifier.labels).toEqual(['a', 'b', 'c']);
  });

  it('a folder without a model, with several, or without a tokenizer', async () => {
    const folder = await copiedClassifier();
    await rm(path.join(folder, 'tokenizer.json'));
    await expect(loadOnnxModelFiles(folder)).rejects.toThrow('no tokenizer.json');
    const onnx = path.join(folder, 'onnx');
    await copyFile(path.join(onnx, 'model.onnx'), path.join(onnx, 'model_fp16.onnx'));
    await copyFile(path.join(onnx, 'model.onnx'), path.join(onnx, 'model_int8.onnx'));
    await rm(path.join(onnx, 'model.onnx'));
    await expect(loadOnnxModelFiles(folder)).rejects.toThrow('holds 2 ONNX files and no model.onnx');
    const empty = path.join(folder, 'empty');
    await mkdir(empty);
    await expect(loadOnnxModelFiles(empty)).rejects.toThrow('holds 0 ONNX files');
  });

  it('a file that is no ONNX model, and a damaged config', async () => {
    const folder = await copiedClassifier();
    await writeFile(path.join(folder, 'onnx', 'model.onnx'), 'not a model');
    await expect(openOnnxClassifier(folder, { runtime: cpu })).rejects.toMatchObject({ code: 'runtime' });
    await writeFile(path.join(folder, 'config.json'), '{"id2label": 3}');
    await expect(loadOnnxModelFiles(folder)).rejects.toMatchObject({ code: 'format' });
  });
});
