/**
 * One normalised naming of tensors, independent of the wrapper class that saved them.
 *
 * - GPT-2: `GPT2Model`'s names (`wte.weight`, `h.0.attn.c_attn.weight`, `ln_f.weight`), without `transformer.`.
 * - Llama-like and Gemma: `LlamaForCausalLM`'s names (`model.layers.0.self_attn.q_proj.weight`, `lm_head.weight`).
 * - BERT and RoBERTa: `BertModel`'s names (`embeddings.word_embeddings.weight`,
 * `encoder.layer.0.attention.self.query.weight`).
 * - DistilBERT: its layers under BERT's names too, so that one encoder graph serves all three
 * (`transformer.layer.0.attention.q_lin` becomes `encoder.layer.0.attention.self.query`).
 * - Classification heads keep their family's names: BERT `pooler.dense`, `classifier`; RoBERTa `classifier.dense`,
 * `classifier.out_proj`; DistilBERT `pre_classifier`, `classifier`.
 */
import type { DecoderConfig } from './decoder-config.ts';
import type { EncoderConfig } from './encoder-config.ts';

export type TensorFamily = DecoderConfig['family'] | EncoderConfig['family'];

/**
 * Known buffers and heads of other tasks, which are not used. Matched against the name without its wrapper's prefix.
 */
const UNUSED: Readonly<Record<TensorFamily, RegExp>> = {
  gpt2: /^h\.\d+\.attn\.(bias|masked_bias)$/,
  llama: /\.rotary_emb\.inv_freq$/,
  gemma3: /\.rotary_emb(_local)?\.inv_freq$/,
  bert: /^(cls|qa_outputs)\.|^embeddings\.(position_ids|token_type_ids)$/,
  roberta: /^(lm_head|qa_outputs)\.|^embeddings\.(position_ids|token_type_ids)$/,
  distilbert: /^(vocab_transform|vocab_layer_norm|vocab_projector|qa_outputs)\.|^embeddings\.position_ids$/,
};

const PREFIX: Readonly<Record<TensorFamily, string>> = {
  gpt2: 'transformer.',
  llama: 'model.',
  gemma3: 'model.',
  bert: 'bert.',
  roberta: 'roberta.',
  distilbert: 'distilbert.',
};

const DISTILBERT_LAYER_NAMES: ReadonlyMap<string, string> = new Map([
  ['attention.q_lin', 'attention.self.query'],
  ['attention.k_lin', 'attention.self.key'],
  ['attention.v_lin', 'attention.self.value'],
  ['attention.out_lin', 'attention.output.dense'],
  ['sa_layer_norm', 'attention.output.LayerNorm'],
  ['ffn.lin1', 'intermediate.dense'],
  ['ffn.lin2', 'output.dense'],
  ['output_layer_norm', 'output.LayerNorm'],
]);

function distilbertToBert(name: string): string {
  const match = /^transformer\.layer\.(\d+)\.(.+)\.(weight|bias)$/.exec(name);
  const known = match === null ? undefined : DISTILBERT_LAYER_NAMES.get(match[2] as string);
  return match === null || known === undefined ? name : `encoder.layer.${match[1]}.${known}.${match[3]}`;
}

/** Returns the normalised name of a safetensors checkpoint's tensor; undefined for one that is known and not used. */
export function normaliseTensorName(name: string, family: TensorFamily): string | undefined {
  const prefix = PREFIX[family];
  const bare = name.startsWith(prefix) ? name.slice(prefix.length) : name;
  if (UNUSED[family].test(bare)) return undefined;
  switch (family) {
    case 'gpt2':
      return bare;
    case 'llama':
    case 'gemma3':
      return bare.startsWith('lm_head.') ? bare : `model.${bare}`;
    case 'distilbert':
      return distilbertToBert(bare);
    case 'bert':
    case 'roberta':
      // Checkpoints converted from TensorFlow name a LayerNorm's parameters gamma and beta.
      return bare.replace(/\.LayerNorm\.gamma$/, '.LayerNorm.weight').replace(/\.LayerNorm\.beta$/, '.LayerNorm.bias');
  }
}
