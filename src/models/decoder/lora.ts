import type { Tensor } from 'onnxruntime-node';
import { FloodgateError } from '../../base/errors.ts';
import type { LinearLayout } from '../../engine/graph/ops.ts';
import { type ParameterSpec, zeroParameters } from '../../engine/optimizer/flat-parameters.ts';
import { scalarTensor } from '../../engine/runtime/tensors.ts';
import type { DecoderConfig } from '../checkpoint/decoder-config.ts';

/** A low-rank adapter: y = W x + (alpha / rank) B (A x), on the chosen projections of every layer. */
export interface LoraSpec {
  readonly rank: number;
  readonly alpha: number;
  /** Short projection names such as `q_proj` or `c_attn`; `all-linear` means every projection of the family. */
  readonly targets: readonly string[] | 'all-linear';
}

/** One linear map of a decoder layer. */
export interface Projection {
  /** Module path as in `transformers`, e.g. `model.layers.0.self_attn.q_proj`. */
  readonly module: string;
  readonly inSize: number;
  readonly outSize: number;
}

function layerProjections(config: DecoderConfig, layer: number): Projection[] {
  const { width: d, feedForwardWidth: f } = config;
  const q = config.heads * config.headWidth;
  const kv = config.kvHeads * config.headWidth;
  const at = (name: string, inSize: number, outSize: number): Projection => ({
    module: config.family === 'gpt2' ? `h.${layer}.${name}` : `model.layers.${layer}.${name}`,
    inSize,
    outSize,
  });
  if (config.family === 'gpt2') {
    return [at('attn.c_attn', d, 3 * d), at('attn.c_proj', d, d), at('mlp.c_fc', d, f), at('mlp.c_proj', f, d)];
  }
  return [
    at('self_attn.q_proj', d, q),
    at('self_attn.k_proj', d, kv),
    at('self_attn.v_proj', d, kv),
    at('self_attn.o_proj', q, d),
    at('mlp.gate_proj', d, f),
    at('mlp.up_proj', d, f),
    at('mlp.down_proj', f, d),
  ];
}

/** Every projection of the decoder, layer by layer. */
export function decoderProjections(config: DecoderConfig): Projection[] {
  return Array.from({ length: config.layers }, (_, layer) => layerProjections(config, layer)).flat();
}

/** How a projection's weight lies in its file: GPT-2's are Conv1D. */
export function projectionLayout({ family }: DecoderConfig): LinearLayout {
  return family === 'gpt2' ? 'inOut' : 'outIn';
}

/** The weight of the output head [V, D]; the embedding table where both are one. */
export function headWeight({ family, tiedEmbeddings }: DecoderConfig): string {
  if (!tiedEmbeddings) return 'lm_head.weight';
  return family === 'gpt2' ? 'wte.weight' : 'model.embed_tokens.weight';
}

/** Whether a target names this projection: by its short name, or by `parent.name` such as `mlp.c_proj`. */
function isTargeted(targets: LoraSpec['targets'], module: string): boolean {
  return targets === 'all-linear' || targets.some((target) => module.endsWith(`.${target}`));
}

/** Returns the projections that a spec adapts. @throws FloodgateError `config` when a target names none. */
export function loraProjections(config: DecoderConfig, spec: LoraSpec): Projection[] {
  const projections = decoderProjections(config);
  if (spec.targets !== 'all-linear') {
    for (const target of spec.targets) {
      if (projections.some(({ module }) => isTargeted([target], module))) continue;
      const known = layerProjections(config, 0).map(({ module }) => module.split('.').at(-1));
      throw new FloodgateError(
        'config',
        `lora.targets: ${config.family} has no projection ${target}, expected ${known.join(', ')}`,
        {
          hint: 'use targets: all-linear',
        },
      );
    }
  }
  return projections.filter(({ module }) => isTargeted(spec.targets, module));
}

/** Returns A and B of every adapted projection, in PEFT's names and layout: A [rank, in], B [out, rank]. */
export function loraParameters(config: DecoderConfig, spec: LoraSpec): ParameterSpec[] {
  return loraProjections(config, spec).flatMap(({ module, inSize, outSize }): ParameterSpec[] => [
    { name: `${module}.lora_A.weight`, shape: [spec.rank, inSize], init: 'kaiming' },
    { name: `${module}.lora_B.weight`, shape: [outSize, spec.rank], init: 'zeros' },
  ]);
}

/** The smallest adapter, switched off: for a frozen model in a graph that declares adapters. */
export function offSpec(targets: LoraSpec['targets']): LoraSpec {
  return { rank: 1, alpha: 0, targets };
}

/** The inputs of a graph that declares adapters, for the frozen model alone: `offSpec` as tensors. */
export function switchedOff(config: DecoderConfig, targets: LoraSpec['targets']): Readonly<Record<string, Tensor>> {
  const parameters = zeroParameters(loraParameters(config, offSpec(targets)));
  return { ...parameters.tensors, loraScale: scalarTensor(0) };
}
