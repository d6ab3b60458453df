import { type Group, type RatioSpec, type SideSpec, timesAsFast, type Work, type WorkSettings } from './work.ts';

const TORCH = ['torch', 'transformers', 'peft'];

function floodgate(name: string, script: string, ...options: string[]): SideSpec {
  return { name, program: 'floodgate', script, options, modules: [] };
}

function peer(name: string, script: string, modules: readonly string[], ...options: string[]): SideSpec {
  return { name, program: 'python', script, options, modules };
}

function shareOfLimit(figure: string, goal?: RatioSpec['goal']): RatioSpec {
  return {
    label: `fp32 matmul limit / floodgate ${figure}`,
    top: { side: 'limit', figure: 'limitSeconds' },
    bottom: { side: 'floodgate', figure },
    ...(goal === undefined ? {} : { goal }),
  };
}

const trainStep: Work = {
  name: 'train-step',
  title: 'LoRA training step, GPT-2-small shape, 16 x 20 tokens after 56',
  groups: () => [
    {
      name: 'fp32',
      sides: [
        floodgate('floodgate', 'train-step'),
        floodgate('limit', 'limit', '--of', 'train-step'),
        ...['research', 'best', 'best-compiled'].map((mode) => peer(mode, 'train_step.py', TORCH, '--mode', mode)),
      ],
      ratios: [
        timesAsFast('floodgate', 'research', 4),
        timesAsFast('floodgate', 'best', 1.2),
        timesAsFast('floodgate', 'best-compiled', 1.2),
        shareOfLimit('seconds'),
        {
          label: 'best peak memory / floodgate peak memory',
          top: { side: 'best', figure: 'peakMemoryBytes' },
          bottom: { side: 'floodgate', figure: 'peakMemoryBytes' },
          goal: { atLeast: 1 },
        },
        {
          label: 'research loss / best loss (the same step)',
          top: { side: 'research', figure: 'loss' },
          bottom: { side: 'best', figure: 'loss' },
          goal: { atLeast: 0.999, atMost: 1.001 },
        },
      ],
    },
  ],
};

const BATCHES = [1, 16, 80];

function generateGroup(batch: number, { gguf }: WorkSettings): Group {
  const options = ['--gguf', gguf(), '--batch', String(batch)];
  const isBatched = batch > 1; // the ratios to reach are for batches
  return {
    name: `fp32, batch ${batch}`,
    sides: [
      floodgate('floodgate', 'generate', ...options),
      floodgate('limit', 'limit', '--of', 'generate', ...options),
      peer('transformers', 'generate.py', ['torch', 'transformers', 'gguf'], '--backend', 'transformers', ...options),
      peer('llama.cpp q4_0', 'generate.py', ['llama_cpp'], '--backend', 'llama-cpp', '--file-type', 'q4_0', ...options),
    ],
    ratios: [
      timesAsFast('floodgate', 'transformers', isBatched ? 2.3 : undefined),
      timesAsFast('floodgate', 'llama.cpp q4_0', isBatched ? 1 : undefined),
      shareOfLimit('modelSeconds', isBatched ? { atLeast: 0.9 } : undefined),
      {
        label: "the model's matmuls alone / floodgate modelSeconds",
        top: { side: 'limit', figure: 'skeletonSeconds' },
        bottom: { side: 'floodgate', figure: 'modelSeconds' },
      },
      {
        label: 'floodgate sampling time / floodgate time',
        top: { side: 'floodgate', figure: 'samplingSeconds' },
        bottom: { side: 'floodgate', figure: 'seconds' },
        ...(isBatched ? { goal: { atMost: 0.07 } } : {}),
      },
    ],
  };
}

const generate: Work = {
  name: 'generate',
  title: 'Generation, SmolLM2-135M in fp32, 32 new tokens after 30, temperature 0.7, top-p 0.95',
  groups: (settings) => BATCHES.map((batch) => generateGroup(batch, settings)),
};

/** Frozen weights in other precisions against our own fp32: names of `sides/variants.ts`. */
const QUANTISED: readonly { readonly variant: string; readonly goal: number }[] = [{ variant: 'int8', goal: 1.5 }];

const generateQuantised: Work = {
  name: 'generate-quantised',
  title: 'Generation, SmolLM2-135M with quantised frozen weights against fp32',
  groups: ({ gguf }) =>
    QUANTISED.flatMap(({ variant, goal }) =>
      BATCHES.map((batch): Group => {
        const options = ['--gguf', gguf(), '--batch', String(batch)];
        return {
          name: `${variant}, batch ${batch}`,
          sides: [
            floodgate(variant, 'generate', ...options, '--variant', variant),
            floodgate('fp32', 'generate', ...options),
          ],
          ratios: [timesAsFast(variant, 'fp32', batch > 1 ? goal : undefined)],
        };
      }),
    ),
};

/** Phases that every side of the micro-step times. */
const PHASES = ['sampling', 'reference', 'target', 'judge', 'training'];

const microStep: Work = {
  name: 'micro-step',
  title: 'Whole online micro-step: attacker and target GPT-2-small shape, RoBERTa-base-shaped judge',
  groups: () => [
    {
      name: 'fp32, and int8 in target and judge',
      sides: [
        floodgate('floodgate', 'micro-step', '--variant', 'fp32'),
        floodgate('int8', 'micro-step', '--variant', 'int8'),
        floodgate('limit', 'limit', '--of', 'micro-step'),
        ...['research', 'best'].map((mode) => peer(mode, 'micro_step.py', TORCH, '--mode', mode)),
      ],
      ratios: [
        timesAsFast('floodgate', 'research', 3.3),
        timesAsFast('int8', 'research', 5),
        timesAsFast('floodgate', 'best'),
        shareOfLimit('seconds'),
        ...['research', 'best'].flatMap((mode) =>
          PHASES.map((phase) => ({
            label: `${phase}: ${mode} / floodgate`,
            top: { side: mode, figure: `phases.${phase}` },
            bottom: { side: 'floodgate', figure: `phases.${phase}` },
          })),
        ),
        ...PHASES.map((phase) => ({
          label: `${phase}: research / int8`,
          top: { side: 'research', figure: `phases.${phase}` },
          bottom: { side: 'int8', figure: `phases.${phase}` },
        })),
      ],
    },
  ],
};

export const WORKS: readonly Work[] = [trainStep, generate, generateQuantised, microStep];
