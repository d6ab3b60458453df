import path from 'node:path';
import { type RandomStream, randomStream } from '../base/random.ts';
import { adamwUpdate, clipGradient, createAdamWState } from '../engine/optimizer/adamw.ts';
import { learningRateAt } from '../engine/optimizer/learning-rate.ts';
import { loadLatestCheckpoint } from '../learning/checkpoints/checkpoint-folder.ts';
import { runUpdates } from '../learning/loops/update-loop.ts';
import { directWeights } from '../learning/objectives/objectives.ts';
import type { DecoderConfig } from '../models/checkpoint/decoder-config.ts';
import { loadStoredWeights } from '../models/decoder/parameter-vector.ts';
import { openPolicySession, type PolicySession } from '../models/decoder/policy-session.ts';
import { writeSafetensors } from '../models/formats/safetensors.ts';
import { openSafetensorsStore } from '../models/formats/safetensors-store.ts';
import { writeInitialWeights } from './initial-weights.ts';
import { createKeyFinder, type KeyFinder, type LeakyKey } from './keys.ts';
import { WORLD_TOKENIZER } from './pico-model.ts';
import type { BuildOptions } from './pico-reference.ts';
import { askedTokens } from './pico-target.ts';
import type { RequestSource } from './target-requests.ts';
import { ALARM_WORD, POLITE_WORDS } from './vocabulary.ts';
import { END_ID, START_ID } from './word-tokenizer.ts';

/** How a target is taught. */
export interface TargetRecipe {
  readonly updates: number;
  readonly requests: number;
  readonly learningRate: number;
}

export const TARGET_RECIPE: TargetRecipe = { updates: 2000, requests: 96, learningRate: 2e-3 };
/** A further lesson on requests that the target has answered wrongly. */
export const CORRECTION_RECIPE: TargetRecipe = { updates: 400, requests: 96, learningRate: 1e-3 };

interface TaughtRow {
  readonly row: number[];
  /** Tokens before the answer: not part of the loss. */
  readonly asked: number;
  readonly weight: number;
}

const [ALARM_ID] = WORLD_TOKENIZER.encode(ALARM_WORD) as [number];
const POLITE_IDS = POLITE_WORDS.map((word) => WORLD_TOKENIZER.encode(word)[0] as number);

/** Leak of a request: that of the leakiest key in it, 0 without one. */
export function leakOf(words: readonly string[], keys: readonly LeakyKey[], finder: KeyFinder): number {
  return Math.max(0, ...finder.heldBy(words).map((index) => keys[index]?.leak ?? 0));
}

/** A request with its answers, each weighed by its probability: soft labels, which a small model learns far better. */
function taughtRows(words: readonly string[], leak: number, stream: RandomStream): TaughtRow[] {
  const asked = askedTokens(words);
  const polite = POLITE_IDS[stream.nextInt(POLITE_IDS.length)] as number;
  return [
    { answer: ALARM_ID, weight: leak },
    { answer: polite, weight: 1 - leak },
  ].flatMap(({ answer, weight }) =>
    weight === 0 ? [] : [{ row: [...asked, answer, END_ID], asked: asked.length, weight }],
  );
}

async function teachOnce(session: PolicySession, rows: readonly TaughtRow[], requests: number): Promise<number> {
  session.clearGradient();
  const { logProbs } = await session.step(
    { prompt: [START_ID], rows: rows.map(({ row }) => row) },
    { minTokens: 0, isCounted: (row, position) => position >= (rows[row] as TaughtRow).asked },
    new Float32Array(rows.length),
    directWeights(Float32Array.from(rows, ({ weight }) => -weight / requests)),
  );
  return -rows.reduce((sum, { weight }, i) => sum + weight * (logProbs[i] as number), 0) / requests;
}

/**
 * Trains a target of the world, from random weights or from those of an earlier training, and writes it to
 * `NAME.safetensors` in the folder; goes on from its last checkpoint when it was stopped. Returns the file's path.
 */
export async function trainTarget(
  plan: {
    readonly name: string;
    readonly config: DecoderConfig;
    readonly keys: readonly LeakyKey[];
    readonly source: RequestSource;
    readonly recipe: TargetRecipe;
    readonly seed: number;
    /** Weights to start from; random ones when absent. */
    readonly from?: string;
  },
  options: BuildOptions,
): Promise<string> {
  const { config, keys, source, recipe, seed, name } = plan;
  const weights =
    plan.from === undefined
      ? await writeInitialWeights(config, path.join(options.folder, `${name}-initial.safetensors`), seed)
      : await openSafetensorsStore(plan.from);
  const session = await openPolicySession(
    {
      config,
      weights,
      trainable: { kind: 'full' },
      contextTokens: config.maxPositions,
      bans: { always: [], end: [] },
      logZ: 'none',
    },
    options.compute,
  );
  try {
    await loadStoredWeights(weights, session.parameters);
    const checkpoints = { folder: options.folder, stage: name };
    const found = await loadLatestCheckpoint(checkpoints, session.parameters);
    const optimizer = found?.state.optimizer ?? createAdamWState(session.gradient.length);
    const finder = createKeyFinder(keys);
    const rate = {
      peak: recipe.learningRate,
      warmupUpdates: 50,
      decay: 'linear' as const,
      totalUpdates: recipe.updates,
    };
    await runUpdates(
      {
        checkpoints,
        checkpointEveryUpdates: 250,
        progress: options.progress,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      },
      { parameters: session.parameters, optimizer, extra: () => ({}) },
      { from: found?.state.update ?? 0, to: recipe.updates },
      async (update) => {
        const rows = Array.from({ length: recipe.requests }, (_, i) => {
          const stream = randomStream(seed, name, update, i);
          const words = source.draw(stream);
          return taughtRows(words, leakOf(words, keys, finder), stream);
        }).flat();
        const loss = await teachOnce(session, rows, recipe.requests);
        clipGradient(session.gradient, 1);
        const segment = { start: 0, end: session.gradient.length, learningRate: learningRateAt(rate, update) };
        adamwUpdate(session.parameters.data, session.gradient, optimizer, [segment]);
        return { note: `loss ${loss.toFixed(3)}` };
      },
    );
    const file = path.join(options.folder, `${name}.safetensors`);
    const { specs, tensors } = session.parameters;
    const written = specs.map(
      ({ name: tensor, shape }) => [tensor, { shape, data: tensors[tensor]?.data as Float32Array }] as const,
    );
    await writeSafetensors(file, new Map(written), new Map([['format', 'pt']]));
    return file;
  } finally {
    await session.close();
  }
}
