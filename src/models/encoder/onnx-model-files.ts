import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { labelFields, parseLabels, parseProblem } from '../checkpoint/encoder-config.ts';
import { parseFields, readJsonFile } from '../formats/json-file.ts';
import { loadTokenizerFromFolder } from '../tokenizer/load-tokenizer.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { activationOf, type LabelActivation } from './text-classifier.ts';

/** A config.json of gigabytes. */
const MAX_CONFIG_BYTES = 4 * 1024 * 1024;
/** A window of billions of tokens: tokenizers write 1e30 to say "no limit". */
const MAX_WINDOW = 8192;
const DEFAULT_WINDOW = 512;

/** An encoder in an ONNX file, with the facts about texts and labels from the files beside it. */
export interface OnnxModelFiles {
  readonly modelPath: string;
  readonly tokenizer: Tokenizer;
  readonly padId: number;
  readonly maxTokens: number;
  readonly hasDoubleSeparator: boolean;
  /** Empty where config.json names none. */
  readonly labels: readonly string[];
  readonly activation: LabelActivation;
}

const configFields = z.looseObject({
  model_type: z.string().nullish(),
  pad_token_id: z.int().nonnegative().nullish(),
  max_position_embeddings: z.int().positive().nullish(),
  ...labelFields,
});
const tokenizerFields = z.looseObject({ model_max_length: z.number().positive().nullish() });

async function isFile(file: string): Promise<boolean> {
  return stat(file).then(
    (found) => found.isFile(),
    () => false,
  );
}

async function readOptional<T>(file: string, schema: z.ZodType<T>): Promise<T | undefined> {
  if (!(await isFile(file))) return undefined;
  return parseFields(schema, await readJsonFile(file, MAX_CONFIG_BYTES), `read ${file}`);
}

async function onnxFilesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names.filter((name) => name.endsWith('.onnx')).map((name) => path.join(folder, name));
}

/** Finds `model.onnx` in the folder or its `onnx/` (as the hub's copies have it), else the only ONNX file there. */
async function findModelFile(folder: string): Promise<string> {
  const files = [...(await onnxFilesIn(folder)), ...(await onnxFilesIn(path.join(folder, 'onnx')))].sort();
  const usual = files.find((file) => path.basename(file) === 'model.onnx');
  const chosen = usual ?? (files.length === 1 ? files[0] : undefined);
  if (chosen !== undefined) return chosen;
  throw new FloodgateError('source', `open ${folder}: it holds ${files.length} ONNX files and no model.onnx`, {
    hint:
      files.length === 0
        ? 'give the folder or file of an ONNX model'
        : `name one of them: ${files.slice(0, 5).join(', ')}`,
  });
}

/** The folder of tokenizer.json and config.json: the file's own, or the one above `onnx/`. */
async function companionFolder(modelPath: string): Promise<string> {
  const folder = path.dirname(modelPath);
  const isBeside = await isFile(path.join(folder, 'tokenizer.json'));
  return !isBeside && path.basename(folder) === 'onnx' ? path.dirname(folder) : folder;
}

/** Whether a family frames a pair as RoBERTa does and counts positions after the padding id. */
function isRobertaLike(modelType: string | null | undefined): boolean {
  return /roberta|camembert/.test(modelType ?? '');
}

/**
 * Reads the files beside an ONNX file: tokenizer.json (required), config.json and tokenizer_config.json.
 * `location` is the file, or its folder. Runs nothing.
 * @throws FloodgateError `source` without exactly one model, `model` without a tokenizer, `format` on a damaged file.
 */
export async function loadOnnxModelFiles(location: string): Promise<OnnxModelFiles> {
  const modelPath = (await isFile(location)) ? location : await findModelFile(location);
  const folder = await companionFolder(modelPath);
  const { tokenizer } = await loadTokenizerFromFolder(folder);
  const config = (await readOptional(path.join(folder, 'config.json'), configFields)) ?? {};
  const tokenizerConfig = await readOptional(path.join(folder, 'tokenizer_config.json'), tokenizerFields);
  const isRoberta = isRobertaLike(config.model_type);
  const padId = config.pad_token_id ?? tokenizer.padId ?? 0;
  const positions = config.max_position_embeddings ?? DEFAULT_WINDOW;
  const usable = isRoberta ? positions - padId - 1 : positions;
  const labelCount = config.id2label ? Object.keys(config.id2label).length : undefined;
  return {
    modelPath,
    tokenizer,
    padId,
    maxTokens: Math.floor(Math.min(usable, tokenizerConfig?.model_max_length ?? usable, MAX_WINDOW)),
    hasDoubleSeparator: isRoberta,
    labels: parseLabels(config, labelCount),
    activation: activationOf(parseProblem(config, labelCount)),
  };
}
