import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import { type ProgressSink, silentProgress } from '../../base/progress.ts';
import type { WeightStore } from '../formats/weight-store.ts';
import type { ChatTemplate } from '../tokenizer/chat-template.ts';
import { loadTokenizerFromFolder, tokenizerFromGguf } from '../tokenizer/load-tokenizer.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { DecoderConfig } from './decoder-config.ts';
import type { EncoderConfig } from './encoder-config.ts';
import { openFolder } from './folder-checkpoint.ts';
import { openGguf } from './gguf-checkpoint.ts';
import type { OpenOptions } from './weight-cache.ts';

/** Contents of every opened model folder or file, before any session exists. */
interface CheckpointParts {
  /** Spec that the model was opened from, for manifests and messages. */
  readonly spec: string;
  /** sha256 of the source file(s), hex. */
  readonly sha256: string;
  /** sha256 of the names and contents of all its files, hex; absent where it was not opened by its spec. */
  readonly filesSha256?: string;
  readonly weights: WeightStore;
  readonly tokenizer: Tokenizer;
}

export interface DecoderCheckpoint extends CheckpointParts {
  readonly kind: 'decoder';
  readonly config: DecoderConfig;
  /** Undefined when the model ships no chat template. */
  readonly chatTemplate: ChatTemplate | undefined;
  /**
   * Projections that an adapter of the same run adapts on these weights. A frozen session of the model then declares
   * them too, switched off: its graphs equal those of the adapted model, and both compute in one session.
   */
  readonly adapted?: readonly string[] | 'all-linear';
}

export interface EncoderCheckpoint extends CheckpointParts {
  readonly kind: 'encoder';
  readonly config: EncoderConfig;
}

export type Checkpoint = DecoderCheckpoint | EncoderCheckpoint;

export interface OpenCheckpointOptions {
  /** Folder of the model cache: fp32 weight files are made below it. */
  readonly cacheDir: string;
  /** The user's name for this model, for manifests and messages; default the path. */
  readonly spec?: string;
  readonly progress?: ProgressSink;
}

async function isGguf(path: string): Promise<boolean> {
  const handle = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4), 0, 4, 0);
    return bytesRead === 4 && buffer.toString('latin1') === 'GGUF';
  } finally {
    await handle.close();
  }
}

/** Finds the GGUF file that `path` means: itself, or the only one in a folder without a config.json. */
async function findGguf(path: string): Promise<string | undefined> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new FloodgateError('source', `open ${path}: no such file or folder`, { cause });
  });
  if (found.isFile()) {
    if (await isGguf(path)) return path;
    throw new FloodgateError('format', `open ${path}: neither a GGUF file nor a folder`, {
      hint: 'for safetensors give the folder that holds config.json',
    });
  }
  const names = await readdir(path);
  if (names.includes('config.json')) return undefined;
  const ggufs = names.filter((name) => name.endsWith('.gguf')).sort();
  if (ggufs.length > 1) {
    throw new FloodgateError('source', `open ${path}: it holds ${ggufs.length} GGUF files, expected one`, {
      hint: `name one of them: ${ggufs.slice(0, 5).join(', ')}`,
    });
  }
  if (ggufs[0] === undefined) {
    throw new FloodgateError('source', `open ${path}: it holds neither a config.json nor a GGUF file`);
  }
  return join(path, ggufs[0]);
}

/** Refuses a tokenizer with more ids than embedding rows: a lookup would read past the table. */
function refuseForeignTokenizer(checkpoint: Checkpoint): Checkpoint {
  const { tokenizer, config, spec } = checkpoint;
  if (tokenizer.vocabSize > config.vocabSize) {
    throw new FloodgateError(
      'format',
      `open ${spec}: its tokenizer has ${tokenizer.vocabSize} tokens, but the model only ${config.vocabSize} embeddings`,
    );
  }
  return checkpoint;
}

/**
 * Opens a model: a folder (config.json, safetensors, tokenizer.json), a GGUF file, or a folder with one GGUF file.
 * Its weights are one fp32 file below `cacheDir`, converted there the first time.
 * @throws `source` when nothing is there; `format` when a file is damaged or the model is not supported; `store` when
 * the disk refuses.
 */
export async function openCheckpoint(path: string, options: OpenCheckpointOptions): Promise<Checkpoint> {
  const spec = options.spec ?? path;
  const openOptions: OpenOptions = { cacheDir: options.cacheDir, progress: options.progress ?? silentProgress };
  const gguf = await findGguf(path);
  if (gguf !== undefined) {
    const { metadata, ...opened } = await openGguf(gguf, openOptions);
    return refuseForeignTokenizer({ kind: 'decoder', spec, ...opened, ...tokenizerFromGguf(metadata) });
  }
  const opened = await openFolder(path, openOptions);
  const { tokenizer, chatTemplate } = await loadTokenizerFromFolder(path);
  if (opened.kind === 'encoder') return refuseForeignTokenizer({ spec, tokenizer, ...opened });
  return refuseForeignTokenizer({ spec, tokenizer, chatTemplate, ...opened });
}

/**
 * Returns the same model without its last layers: the first `layers` of them, then its final norm and head. It uses the
 * same weight file, and never reads the tensors of the omitted layers.
 * @throws FloodgateError `model` unless 1 <= layers <= the layers that the model's config has.
 */
export function truncateLayers(checkpoint: DecoderCheckpoint, layers: number): DecoderCheckpoint {
  const { config, spec } = checkpoint;
  if (!(Number.isSafeInteger(layers) && layers >= 1 && layers <= config.layers)) {
    throw new FloodgateError(
      'model',
      `open ${spec}: got layers: ${layers}, expected 1 to ${config.layers}, the layers of its config (${config.family})`,
    );
  }
  const { adapted: _ofTheWhole, ...rest } = checkpoint;
  return { ...rest, config: { ...config, layers } };
}
