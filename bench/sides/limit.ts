import path from 'node:path';
import { FloodgateError } from '../../src/base/errors.ts';
import { randomStream } from '../../src/base/random.ts';
import { GraphBuilder } from '../../src/engine/graph/builder.ts';
import type { Value } from '../../src/engine/graph/ops.ts';
import { symbolSize } from '../../src/engine/graph/size.ts';
import type { ComputeOptions } from '../../src/engine/runtime/device.ts';
import { type GraphSession, openSession } from '../../src/engine/runtime/session.ts';
import { float32Tensor } from '../../src/engine/runtime/tensors.ts';
import type { DecoderConfig } from '../../src/models/checkpoint/decoder-config.ts';
import { frozenWeights } from '../../src/models/decoder/decoder-weights.ts';
import { decoderProjections } from '../../src/models/decoder/lora.ts';
import type { WeightStore } from '../../src/models/formats/weight-store.ts';
import { generateFlops, microStepFlops, trainStepFlops } from './flops.ts';
import { judgeConfig, stepShape } from './shapes.ts';
import { type Side, type SideOptions, timed } from './side.ts';
import { generationSize, openSmollm2 } from './smollm2.ts';

const PEAK_SIZE = 1024;
const PEAK_RUNS = 16;

function randomValues(count: number, ...name: (string | number)[]): Float32Array {
  const stream = randomStream(0, 'bench', 'limit', ...name);
  return Float32Array.from({ length: count }, () => 2 * stream.nextFloat() - 1);
}

/** Operations a second of 1024 x 1024 x 1024 in this runtime: what "the fp32 limit" means here. */
async function openPeak(compute: ComputeOptions): Promise<() => Promise<number>> {
  const shape = [PEAK_SIZE, PEAK_SIZE];
  const size = PEAK_SIZE * PEAK_SIZE;
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', shape);
  g.output('y', g.linear(x, g.constant('float32', shape, randomValues(size, 'w')), 'outIn'));
  const session = await openSession(g.build(), { ...compute, label: 'peak' });
  const feeds = { x: float32Tensor(randomValues(size, 'x'), shape) };
  const fetches = { y: float32Tensor(new Float32Array(size), shape) };
  return async () => {
    await session.run(feeds, fetches);
    const { seconds } = await timed(async () => {
      for (let i = 0; i < PEAK_RUNS; i++) await session.run(feeds, fetches);
    });
    return (2 * PEAK_SIZE ** 3 * PEAK_RUNS) / seconds;
  };
}

/**
 * Just the matmuls of a Llama-like model over N tokens, every weight its own and in the model's order, so that caches
 * are as cold as in the model; each layer reads the same input, which keeps the values finite.
 * Inputs: `x` [N, D], `wanted` [M, D]. Outputs: `sum` [N, D] and `logits` [M, V].
 */
function buildSkeleton(config: DecoderConfig, store: WeightStore) {
  if (config.family !== 'llama') throw new FloodgateError('usage', `bench: no skeleton for ${config.family}`);
  const g = new GraphBuilder();
  const weights = frozenWeights(g, store);
  const x = g.input('x', 'float32', [symbolSize('N'), config.width]);
  let sum = x;
  const widths = new Map(decoderProjections(config).map(({ module, outSize }) => [module, outSize]));
  for (let layer = 0; layer < config.layers; layer++) {
    const project = (name: string, input: Value): Value =>
      g.linear(input, weights.get(`model.layers.${layer}.${name}.weight`), 'outIn');
    const [q, k, v] = ['q_proj', 'k_proj', 'v_proj'].map((name) => project(`self_attn.${name}`, x)) as [
      Value,
      Value,
      Value,
    ];
    const o = project('self_attn.o_proj', q);
    const rest = config.width - 2 * (widths.get(`model.layers.${layer}.self_attn.k_proj`) ?? 0);
    const [part] = g.split(o, 1, [rest, config.width - rest]) as [Value, Value]; // k and v must be used, else they are pruned
    const down = project('mlp.down_proj', g.multiply(project('mlp.gate_proj', x), project('mlp.up_proj', x)));
    sum = g.add(sum, g.add(down, g.concat([k, v, part], 1)));
  }
  const wanted = g.input('wanted', 'float32', [symbolSize('M'), config.width]);
  g.output('sum', sum);
  g.output(
    'logits',
    g.linear(wanted, weights.get(config.tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight'), 'outIn'),
  );
  return g.build();
}

async function runSkeleton(session: GraphSession, config: DecoderConfig, tokens: number, rows: number) {
  const { width, vocabSize } = config;
  const input = (count: number, name: string) => float32Tensor(randomValues(count * width, name), [count, width]);
  const feeds = { x: input(tokens, 'x'), wanted: input(rows, 'wanted') };
  const fetches = {
    sum: float32Tensor(new Float32Array(tokens * width), [tokens, width]),
    logits: float32Tensor(new Float32Array(rows * vocabSize), [rows, vocabSize]),
  };
  return (count: number) =>
    timed(async () => {
      for (let i = 0; i < count; i++) await session.run(feeds, fetches);
    });
}

/** Prefill of every prompt, then a decode step for each token but the last, in matmuls alone: seconds. */
async function openGenerationSkeleton(options: SideOptions, compute: ComputeOptions) {
  const { config, weights } = await openSmollm2(options);
  const { batch, prompt, newTokens } = generationSize(options);
  const weightFolder = path.dirname(weights.path);
  const session = await openSession(buildSkeleton(config, weights), { ...compute, label: 'skeleton', weightFolder });
  const prefill = await runSkeleton(session, config, batch * prompt, batch);
  const decode = await runSkeleton(session, config, batch, batch);
  const flops = generateFlops(config, batch, batch * prompt, newTokens);
  return { flops, seconds: async () => (await prefill(1)).seconds + (await decode(newTokens - 1)).seconds };
}

/**
 * The fp32 matmul limit of a work, measured in the same rounds. Adds `gflops` (of 1024^3), `limitSeconds` (the work's
 * matmuls at that rate) and, for generation, `skeletonSeconds` (the model's matmuls alone, at their own shapes).
 */
export async function openLimit(options: SideOptions): Promise<Side> {
  const compute: ComputeOptions = { device: 'cpu', threads: options.threads };
  const peak = await openPeak(compute);
  const answer = async (flops: number) => {
    const rate = await peak();
    return { gflops: rate / 1e9, limitSeconds: flops / rate };
  };
  const name = `limit-of-${options.of}`;
  const shape = stepShape(options.isSmall);
  switch (options.of) {
    case 'train-step':
      return { name, settings: {}, run: () => answer(trainStepFlops(shape)) };
    case 'micro-step':
      return { name, settings: {}, run: () => answer(microStepFlops(shape, judgeConfig(options.isSmall))) };
    case 'generate': {
      const { flops, seconds } = await openGenerationSkeleton(options, compute);
      const run = async () => ({ ...(await answer(flops)), skeletonSeconds: await seconds() });
      return { name, settings: generationSize(options), run };
    }
    default:
      throw new FloodgateError('usage', `bench: got --of ${options.of}, expected train-step, generate or micro-step`);
  }
}
