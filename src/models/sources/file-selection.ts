import { FloodgateError } from '../../base/errors.ts';

export type ModelFormat = 'safetensors' | 'gguf' | 'onnx';

/** The files of a repository, archive or folder that make up the model. */
export interface ModelSelection {
  readonly format: ModelFormat;
  /** Sorted; includes configuration and tokenizer files. */
  readonly names: readonly string[];
  /** The weights file, or the index of its shards. */
  readonly main: string;
}

export const WEIGHT_INDEX = 'model.safetensors.index.json';
const WEIGHT_SHARD = /^model-\d{5}-of-\d{5}\.safetensors$/;
/** Files beside the weights that hold configuration, tokenizer, template or pooling. */
const SIDE_FILES = new Set([
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'tokenizer.model',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'vocab.txt',
  'merges.txt',
  'chat_template.json',
  'chat_template.jinja',
  'modules.json',
  'sentence_bert_config.json',
  'config_sentence_transformers.json',
  '1_Pooling/config.json',
]);
/** How many names an error lists. */
const MAX_LISTED_NAMES = 16;

/**
 * Chooses files from `names` (paths with `/`). The weights are `file`, or else safetensors, or the only GGUF file, or
 * the only ONNX file. `where` names the place in errors; `specOf` returns the spec that picks one file.
 * @throws FloodgateError `source` when there is no readable weights file or more than one choice.
 */
export function selectModelFiles(
  names: readonly string[],
  file: string | undefined,
  where: string,
  specOf: (file: string) => string,
): ModelSelection {
  if (file !== undefined) return selectNamedFile(names, file, where);
  if (names.includes('model.safetensors')) return selection('safetensors', 'model.safetensors', [], names);
  if (names.includes(WEIGHT_INDEX)) {
    const shards = names.filter((name) => WEIGHT_SHARD.test(name));
    return selection('safetensors', WEIGHT_INDEX, shards, names);
  }
  const ggufs = names.filter((name) => /\.gguf$/i.test(name));
  const choices = ggufs.length > 0 ? ggufs : names.filter((name) => /\.onnx$/i.test(name));
  const [only, ...others] = choices;
  if (only === undefined) throw noWeights(names, where);
  if (others.length > 0) {
    const listed = choices.slice(0, MAX_LISTED_NAMES).join(', ');
    throw new FloodgateError('source', `read ${where}: it holds ${choices.length} models, expected one: ${listed}`, {
      hint: `name one of them, e.g. ${specOf(only)}`,
    });
  }
  return selectNamedFile(names, only, where);
}

function selectNamedFile(names: readonly string[], file: string, where: string): ModelSelection {
  const isGguf = /\.gguf$/i.test(file);
  if (!isGguf && !/\.onnx$/i.test(file)) {
    throw new FloodgateError('source', `read ${where}: got file ${file}, expected a .gguf or .onnx file`);
  }
  if (!names.includes(file)) {
    const listed = names.filter((name) => /\.(gguf|onnx)$/i.test(name)).slice(0, MAX_LISTED_NAMES);
    throw new FloodgateError(
      'source',
      `read ${where}: it has no file ${file}, expected one of: ${listed.join(', ') || '(no .gguf or .onnx file)'}`,
    );
  }
  if (isGguf && /-\d{5}-of-\d{5}\.gguf$/i.test(file)) {
    throw new FloodgateError('source', `read ${where}: ${file} is one part of a split GGUF, expected a whole one`, {
      hint: 'join the parts with llama-gguf-split --merge, or choose a smaller quantisation',
    });
  }
  if (isGguf) return { format: 'gguf', main: file, names: [file] };
  const data = names.filter((name) => name.startsWith(`${file}_data`) || name === `${file}.data`);
  return selection('onnx', file, data, names);
}

function selection(
  format: ModelFormat,
  main: string,
  parts: readonly string[],
  names: readonly string[],
): ModelSelection {
  const sides = names.filter((name) => SIDE_FILES.has(name));
  return { format, main, names: [...new Set([main, ...parts, ...sides])].sort() };
}

function noWeights(names: readonly string[], where: string): FloodgateError {
  const isPickled = names.some((name) => /\.(bin|pt|pth|pkl|h5|msgpack)$/i.test(name));
  const got = isPickled ? 'only weights that run code when read (pickles) or other formats' : 'no weights file';
  return new FloodgateError('source', `read ${where}: got ${got}, expected safetensors, GGUF or ONNX`);
}
