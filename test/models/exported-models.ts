import path from 'node:path';
import { randomStream } from '../../src/base/random.ts';
import { openSession } from '../../src/engine/runtime/session.ts';
import { float32Data, float32Tensor, int64Tensor, scalarTensor } from '../../src/engine/runtime/tensors.ts';
import { type DecoderCheckpoint, openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { buildPrefillGraph } from '../../src/models/decoder/inference-graphs.ts';
import { type LoraSpec, loraParameters } from '../../src/models/decoder/lora.ts';
import type { LoraAdapter } from '../../src/models/decoder/merge-lora.ts';
import { streamFeeds } from '../../src/models/decoder/row-batch.ts';
import { writeMergedModel } from '../../src/models/export/model-folder.ts';
import { writePeftAdapter } from '../../src/models/export/peft-adapter.ts';
import { writeTokenizerFiles } from '../../src/models/export/tokenizer-files.ts';
import { testPath } from '../support/golden-file.ts';

/** The exported models, each with its adapter. scripts/golden/exported_models.py loads the same folders. */
export const EXPORTS: Readonly<Record<string, LoraSpec>> = {
  gpt2: { rank: 3, alpha: 6, targets: 'all-linear' },
  smollm2: { rank: 4, alpha: 2, targets: ['q_proj', 'v_proj'] },
  'llama-llama3': { rank: 2, alpha: 4, targets: 'all-linear' },
  'llama-yarn': { rank: 2, alpha: 4, targets: ['mlp.down_proj'] },
  qwen2: { rank: 2, alpha: 3, targets: 'all-linear' },
  qwen3: { rank: 2, alpha: 3, targets: 'all-linear' },
  gemma3: { rank: 2, alpha: 3, targets: 'all-linear' },
};

/** The tokens whose logits are compared. */
export const EXPORT_ROW = [5, 9, 30, 7, 7, 12, 22, 4, 31, 18];

export async function openDecoderFolder(folder: string, cacheDir: string): Promise<DecoderCheckpoint> {
  const checkpoint = await openCheckpoint(folder, { cacheDir });
  if (checkpoint.kind !== 'decoder') throw new TypeError(`${folder} is no decoder`);
  return checkpoint;
}

/** An adapter with every value drawn, B too, from streams of its tensors' names. */
export function randomAdapter({ config }: DecoderCheckpoint, spec: LoraSpec): LoraAdapter {
  const tensors = loraParameters(config, spec).map(({ name, shape }) => {
    const stream = randomStream(11, 'exported adapter', name);
    const data = Float32Array.from(
      { length: (shape[0] as number) * (shape[1] as number) },
      () => stream.nextNormal() / 4,
    );
    return [name, { shape, data }] as const;
  });
  return { spec, tensors: new Map(tensors) };
}

/** Exports a fixture with its adapter below `folder`: `adapter/`, `model/` (files copied), `own-config/` (generated). */
export async function exportFixture(name: string, folder: string, cacheDir: string): Promise<LoraAdapter> {
  const source = testPath('fixtures', 'models', name);
  const checkpoint = await openDecoderFolder(source, cacheDir);
  const adapter = randomAdapter(checkpoint, EXPORTS[name] as LoraSpec);
  const { config, sha256 } = checkpoint;
  await writePeftAdapter({ folder: path.join(folder, 'adapter'), config, adapter, base: { spec: name, sha256 } });
  await writeMergedModel({ folder: path.join(folder, 'model'), checkpoint, adapter, source });
  await writeTokenizerFiles(source, path.join(folder, 'model'));
  await writeMergedModel({ folder: path.join(folder, 'own-config'), checkpoint, adapter });
  return adapter;
}

/** Logits [T-1, V] after each token of `row` but the first, by our engine; with the adapter on top where one is given. */
export async function logitsOf(checkpoint: DecoderCheckpoint, row: readonly number[], adapter?: LoraAdapter) {
  const { config, weights } = checkpoint;
  const trained = adapter === undefined ? {} : { trained: { kind: 'lora', spec: adapter.spec } as const };
  await using session = await openSession(
    buildPrefillGraph({ config, weights, contextTokens: Math.min(48, config.maxPositions), ...trained }),
    {
      device: 'cpu',
      threads: 1,
      label: 'export test',
      weightFolder: path.dirname(weights.path),
    },
  );
  const state = [...(adapter?.tensors ?? [])].map(([name, { shape, data }]) => [name, float32Tensor(data, shape)]);
  const rest = row.slice(1);
  const outputs = await session.run({
    ...streamFeeds([row[0] as number, 0], [rest]),
    wanted: int64Tensor(
      rest.map((_, t) => t),
      [rest.length],
    ),
    ...Object.fromEntries(state),
    ...(adapter === undefined ? {} : { loraScale: scalarTensor(adapter.spec.alpha / adapter.spec.rank) }),
  });
  return float32Data(outputs.logits);
}
