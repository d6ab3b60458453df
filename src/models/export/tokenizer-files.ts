import { copyFile, mkdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { partialPathOf, toWriteError, writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { readGguf } from '../formats/gguf.ts';
import { mergesOfScores, type ScoredBpeConfig } from '../tokenizer/sentencepiece-bpe.ts';
import { type GgufMetadata, ggufTokenId, readGgufTokenizer } from '../tokenizer/tokenizer-gguf.ts';
import type { TokenizerDefinition } from '../tokenizer/tokenizer-json.ts';

/** Files that hold a tokenizer or its chat template. */
const TOKENIZER_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'tokenizer.model',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
  'generation_config.json',
];

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

async function copyAtomically(from: string, to: string): Promise<void> {
  const partial = partialPathOf(to);
  try {
    await copyFile(from, partial);
    await rename(partial, to);
  } catch (error) {
    throw toWriteError(to, error);
  }
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFileAtomically(path, (file) => file.writeFile(`${JSON.stringify(value, null, 2)}\n`));
}

/** Special tokens around a text, in the format of `tokenizers`. */
function postProcessorJson(definition: TokenizerDefinition, tokens: readonly string[]): unknown {
  const template = definition.postProcessors.find(({ type }) => type === 'TemplateProcessing');
  if (template?.type !== 'TemplateProcessing') return null;
  const textOf = (role: string): string => tokens[template.special_tokens[role]?.ids[0] ?? -1] ?? role;
  const single = template.single.map((item) =>
    'SpecialToken' in item
      ? { SpecialToken: { id: textOf(item.SpecialToken.id), type_id: 0 } }
      : { Sequence: { id: 'A', type_id: 0 } },
  );
  const used = template.single.flatMap((item) => ('SpecialToken' in item ? [item.SpecialToken.id] : []));
  const special = used.map((role) => {
    const text = textOf(role);
    return [text, { id: text, ids: template.special_tokens[role]?.ids, tokens: [text] }];
  });
  if (used.length === 0) return null;
  const pair = [
    ...single,
    ...single.map((item) => ('Sequence' in item ? { Sequence: { id: 'B', type_id: 1 } } : item)),
  ];
  return { type: 'TemplateProcessing', single, pair, special_tokens: Object.fromEntries(special) };
}

/** SentencePiece's BPE as `tokenizers` knows it: with ranked merges. */
function scoredModelJson(model: ScoredBpeConfig, tokens: readonly string[]): unknown {
  return {
    type: 'BPE',
    dropout: null,
    unk_token: model.unknownId === undefined ? null : tokens[model.unknownId],
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: true,
    byte_fallback: true,
    ignore_merges: false,
    vocab: Object.fromEntries(model.vocab),
    merges: mergesOfScores(model.scores),
  };
}

/** The tokenizer.json of a tokenizer from a GGUF file, with every field that `tokenizers` requires. */
function tokenizerJson(definition: TokenizerDefinition, tokens: readonly string[]): unknown {
  const { model, addedTokens, normalizers, preTokenizers, decoders } = definition;
  if (model.type === 'ScoredBPE') {
    return {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens,
      normalizer: { type: 'Sequence', normalizers },
      pre_tokenizer: null,
      post_processor: postProcessorJson(definition, tokens),
      decoder: { type: 'Sequence', decoders },
      model: scoredModelJson(model, tokens),
    };
  }
  if (model.type !== 'BPE') throw new FloodgateError('model', `write tokenizer: got ${model.type}, expected BPE`);
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens,
    normalizer: normalizers[0] ?? null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: preTokenizers.map((part) => (part.type === 'ByteLevel' ? { ...part, trim_offsets: true } : part)),
    },
    post_processor: postProcessorJson(definition, tokens),
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: model.unk_token ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: model.fuse_unk,
      byte_fallback: model.byte_fallback,
      ignore_merges: model.ignore_merges,
      vocab: model.vocab,
      merges: model.merges.map((pair) => pair.join(' ')),
    },
  };
}

async function writeGgufTokenizer(metadata: GgufMetadata, folder: string): Promise<void> {
  const { definition, tokens } = readGgufTokenizer(metadata);
  const textOf = (key: string): string | null => {
    const id = ggufTokenId(metadata, key, tokens.length);
    return id === undefined ? null : (tokens[id] ?? null);
  };
  const template = metadata.get('tokenizer.chat_template');
  const ends = ['eos_token_id', 'eot_token_id', 'eom_token_id'].map((key) => ggufTokenId(metadata, key, tokens.length));
  const endIds = [...new Set(ends.filter((id) => id !== undefined))];
  if (endIds.length > 0) await writeJson(join(folder, 'generation_config.json'), { eos_token_id: endIds });
  await writeJson(join(folder, 'tokenizer.json'), tokenizerJson(definition, tokens));
  await writeJson(join(folder, 'tokenizer_config.json'), {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: textOf('bos_token_id'),
    eos_token: textOf('eos_token_id'),
    pad_token: textOf('padding_token_id'),
    unk_token: textOf('unknown_token_id'),
    clean_up_tokenization_spaces: false,
    ...(typeof template === 'string' ? { chat_template: template } : {}),
  });
}

/**
 * Puts the tokenizer files of a model into `folder`: copied from a model folder, or generated from a GGUF file's
 * metadata.
 * @throws FloodgateError `format` when the source is damaged; `store` when the disk refuses.
 */
export async function writeTokenizerFiles(source: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  if (await isFile(source)) {
    await writeGgufTokenizer((await readGguf(source)).metadata, folder);
    return;
  }
  for (const name of TOKENIZER_FILES) {
    const from = join(source, name);
    if (await isFile(from)) await copyAtomically(from, join(folder, name));
  }
}
