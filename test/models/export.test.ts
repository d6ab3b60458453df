import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { mergeLora } from '../../src/models/decoder/merge-lora.ts';
import { readPeftAdapter } from '../../src/models/export/peft-adapter.ts';
import { sha256OfFile } from '../../src/models/sources/file-hash.ts';
import { type GoldenTensor, goldenFloat32, readGolden, testPath } from '../support/golden-file.ts';
import { EXPORT_ROW, EXPORTS, exportFixture, logitsOf, openDecoderFolder } from './exported-models.ts';
import { largestGap } from './open-fixture.ts';

interface GoldenExport {
  /** sha256 of every file that Python loaded. */
  readonly files: Readonly<Record<string, string>>;
  /** Logits of the merged folder in `transformers`, and of base + adapter in PEFT. */
  readonly merged: GoldenTensor;
  readonly adapted: GoldenTensor;
}

/** Set by scripts/golden/exported_models.py, which loads what this test writes there. */
const KEPT = process.env.FLOODGATE_EXPORT_DIR;
let folder: string;
let cacheDir: string;

beforeAll(async () => {
  folder = KEPT ?? (await mkdtemp(path.join(tmpdir(), 'floodgate-export-')));
  cacheDir = await mkdtemp(path.join(tmpdir(), 'floodgate-export-cache-'));
});
afterAll(async () => {
  await rm(cacheDir, { recursive: true });
  if (KEPT === undefined) await rm(folder, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

describe.each(Object.keys(EXPORTS))('%s', (name) => {
  const at = (...parts: string[]) => path.join(folder, name, ...parts);

  test('the files are those that transformers and PEFT loaded, and give their logits to 1e-4', async () => {
    const adapter = await exportFixture(name, at(), cacheDir);
    if (KEPT !== undefined) return; // the golden values do not exist yet
    const golden = (await readGolden<Record<string, GoldenExport>>('models', 'exported-models'))[name] as GoldenExport;
    for (const [file, sha256] of Object.entries(golden.files))
      expect([file, await sha256OfFile(at(file))]).toEqual([file, sha256]);
    const [merged, adapted] = [goldenFloat32(golden.merged), goldenFloat32(golden.adapted)];

    const base = await openDecoderFolder(testPath('fixtures', 'models', name), cacheDir);
    expect(largestGap(await logitsOf(base, EXPORT_ROW, adapter), adapted)).toBeLessThan(1e-4);
    expect(largestGap(await logitsOf(base, EXPORT_ROW), adapted)).toBeGreaterThan(0.1); // the adapter does something
    const opened = await openDecoderFolder(at('model'), cacheDir);
    expect(largestGap(await logitsOf(opened, EXPORT_ROW), merged)).toBeLessThan(1e-4);
    expect(opened.config).toEqual(base.config);
    expect(opened.tokenizer.endIds).toEqual(base.tokenizer.endIds);
    expect(opened.chatTemplate === undefined).toBe(base.chatTemplate === undefined);
    await cp(at('model', 'tokenizer.json'), at('own-config', 'tokenizer.json'));
    expect((await openDecoderFolder(at('own-config'), cacheDir)).config).toEqual(base.config);
  });

  test('an adapter that was written is read back', async () => {
    const adapter = await exportFixture(name, at(), cacheDir);
    const { config } = await openDecoderFolder(testPath('fixtures', 'models', name), cacheDir);
    const read = await readPeftAdapter(at('adapter'), config);
    expect([read.spec.rank, read.spec.alpha]).toEqual([adapter.spec.rank, adapter.spec.alpha]);
    expect([...read.tensors.keys()].sort()).toEqual([...adapter.tensors.keys()].sort());
    for (const [tensor, { data }] of adapter.tensors) expect(read.tensors.get(tensor)?.data).toEqual(data);
  });
});

describe('an adapter that does not fit', () => {
  test('is refused by name, family and size', async () => {
    await exportFixture('smollm2', path.join(folder, 'smollm2'), cacheDir);
    const adapterFolder = path.join(folder, 'smollm2', 'adapter');
    const gpt2 = await openDecoderFolder(testPath('fixtures', 'models', 'gpt2'), cacheDir);
    await expect(readPeftAdapter(adapterFolder, gpt2.config)).rejects.toMatchObject({
      code: 'model',
      message: expect.stringContaining('gpt2 has no projection q_proj'),
    });
    const qwen2 = await openDecoderFolder(testPath('fixtures', 'models', 'qwen2'), cacheDir);
    await expect(readPeftAdapter(adapterFolder, qwen2.config)).rejects.toMatchObject({
      code: 'model',
      message: expect.stringMatching(/q_proj\.lora_A\.weight has shape \[4,24\], expected \[4,16\]/),
    });
    const { config, weights } = await openDecoderFolder(testPath('fixtures', 'models', 'smollm2'), cacheDir);
    const adapter = await readPeftAdapter(adapterFolder, config);
    const tensors = new Map(adapter.tensors);
    tensors.delete('model.layers.1.self_attn.v_proj.lora_B.weight');
    await expect(
      mergeLora({ config, weights, adapter: { ...adapter, tensors }, path: path.join(folder, 'never.safetensors') }),
    ).rejects.toMatchObject({ code: 'model', message: expect.stringContaining('v_proj.lora_B.weight is missing') });
  });

  test('is refused when it is of a kind that would be merged wrongly', async () => {
    await exportFixture('qwen3', path.join(folder, 'qwen3'), cacheDir);
    const copy = path.join(cacheDir, 'dora');
    await cp(path.join(folder, 'qwen3', 'adapter'), copy, { recursive: true });
    const file = path.join(copy, 'adapter_config.json');
    const json = JSON.parse(await readFile(file, 'utf8')) as object;
    await writeFile(file, JSON.stringify({ ...json, use_dora: true }));
    const { config } = await openDecoderFolder(testPath('fixtures', 'models', 'qwen3'), cacheDir);
    await expect(readPeftAdapter(copy, config)).rejects.toMatchObject({
      code: 'format',
      message: expect.stringContaining('use_dora'),
    });
  });
});
