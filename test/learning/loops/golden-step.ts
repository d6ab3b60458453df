import path from 'node:path';
import { type ParameterVector, parameterView } from '../../../src/engine/optimizer/flat-parameters.ts';
import { type DecoderConfig, parseDecoderConfig } from '../../../src/models/checkpoint/decoder-config.ts';
import { writeSafetensors } from '../../../src/models/formats/safetensors.ts';
import { openSafetensorsStore, type WeightStore } from '../../../src/models/formats/weight-store.ts';
import { type GoldenTensor, goldenFloat32, readGolden, transposed } from '../../support/golden-file.ts';

export interface GoldenInputs {
  readonly metaPrompt: number[];
  readonly rows: number[][];
  readonly endIds: number[];
  readonly bannedIds: number[];
  readonly minLength: number;
  readonly logRewards: number[];
  readonly sigma: number;
}

export interface GoldenStep {
  readonly inputs: GoldenInputs;
  readonly logProbs: number[];
  readonly logZ: number;
}

export interface GoldenGradients {
  readonly loss: number;
  readonly deltaGradient: number[];
  readonly gradients: Record<string, GoldenTensor>;
}

export interface GoldenModel {
  readonly config: Record<string, unknown>;
  readonly loraRank: number;
  readonly loraScale: number;
  readonly weights: Record<string, GoldenTensor>;
  readonly lora: Record<string, { A: GoldenTensor; B: GoldenTensor }>;
  readonly logZ: { weight: GoldenTensor; bias: GoldenTensor };
}

export type Family = 'gpt2' | 'llama' | 'gemma3';

const localName = (name: string): string => name.replace(/^transformer\./, '');

/** The golden model's weights as a weight file of ours. */
export async function goldenModel(
  family: Family,
  folder: string,
): Promise<{ model: GoldenModel; config: DecoderConfig; weights: WeightStore }> {
  const model = await readGolden<GoldenModel>('training', `${family}-model`);
  const file = path.join(folder, `${family}.safetensors`);
  const tensors = new Map(
    Object.entries(model.weights).map(([name, t]) => [localName(name), { shape: t.shape, data: goldenFloat32(t) }]),
  );
  await writeSafetensors(file, tensors, new Map());
  return {
    model,
    config: parseDecoderConfig(model.config, family === 'gemma3' ? 'gemma3_text' : family),
    weights: await openSafetensorsStore(file),
  };
}

/** Golden LoRA tensors are A [in, r] and B [r, out]; ours lie as PEFT's, transposed. */
export function loadGoldenLora(model: GoldenModel, parameters: ParameterVector): void {
  for (const [module, { A, B }] of Object.entries(model.lora)) {
    const name = localName(module);
    for (const [part, tensor] of [
      ['lora_A', A],
      ['lora_B', B],
    ] as const) {
      const [rows, columns] = tensor.shape as [number, number];
      parameterView(parameters, `${name}.${part}.weight`).set(transposed(goldenFloat32(tensor), rows, columns));
    }
  }
}

/** The name of a golden gradient among our parameters, and whether its matrix is transposed. */
export function parameterOfGolden(name: string): { readonly name: string; readonly isTransposed: boolean } {
  const lora = /^(.*)\.([AB])$/.exec(localName(name));
  if (lora === null) return { name: localName(name), isTransposed: false };
  return { name: `${lora[1]}.lora_${lora[2]}.weight`, isTransposed: true };
}
