import path from 'node:path';
import { FloodgateError } from '../base/errors.ts';
import { maxOf } from '../base/long-lists.ts';
import { type RandomStream, randomStream } from '../base/random.ts';
import { createAdamWState } from '../engine/optimizer/adamw.ts';
import { optimizerStep } from '../engine/optimizer/optimizer-step.ts';
import { learningRateAt } from '../engine/optimizer/schedules.ts';
import type { Attacker, AttackerState } from '../learning/attacker.ts';
import { loadLatestCheckpoint } from '../learning/checkpoints/checkpoint-folder.ts';
import { runUpdates } from '../learning/loops/update-loop.ts';
import { directWeights } from '../learning/objectives/objective.ts';
import type { DecoderConfig } from '../models/checkpoint/decoder-config.ts';
import { loadStoredWeights } from '../models/decoder/decoder-weights.ts';
import { openPolicySession, type PolicySession } from '../models/decoder/policy-session.ts';
import { writeSafetensors } from '../models/formats/safetensors.ts';
import { openSafetensorsStore } from '../models/formats/weight-store.ts';
import type { PlantedKey } from './choose-keys.ts';
import { ROWS } from './key-priors.ts';
import { createKeyFinder, type KeyFinder, type LeakyKey, wordsOf } from './keys.ts';
import { WORLD_TOKENIZER, writeInitialWeights } from './pico-model.ts';
import { askedTokens, type WorldOutcomes } from './pico-target.ts';
import type { RequestSource } from './target-requests.ts';
import { ALARM_WORD, END_ID, POLITE_WORDS, START_ID } from './vocabulary.ts';
import type { BuildOptions } from './world-lesson.ts';

/** How a target is taught. */
export interface TargetRecipe {
  readonly updates: number;
  readonly requests: number;
  readonly learningRate: number;
  /** Largest global norm of the gradient. */
  readonly gradientClip: number;
  /** Of AdamW. */
  readonly beta2: number;
}

/**
 * Chosen on worlds 3000, 3001, 3003 and 3004 (docs/search.md). A short memory of the gradient's size and a low clip
 * teach more with two thirds of the requests.
 */
const STEADY = { gradientClip: 0.3, beta2: 0.97 } as const;
export const TARGET_RECIPE: TargetRecipe = { updates: 1000, requests: 64, learningRate: 1.5e-3, ...STEADY };
/** A further lesson on requests that the target has answered wrongly. */
export const CORRECTION_RECIPE: TargetRecipe = { updates: 300, requests: 64, learningRate: 1e-3, ...STEADY };

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
  return maxOf([0, ...finder.heldBy(words).map((index) => keys[index]?.leak ?? 0)]);
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

/** Forward passes of an update: short rows in one, long rows in the other, so that few positions are padding. */
const PASSES = 2;

/** The gradient of one update over all its rows. Returns the loss in nats a request. */
async function teachOnce(session: PolicySession, rows: readonly TaughtRow[], requests: number): Promise<number> {
  session.clearGradient();
  const byLength = [...rows].sort((a, b) => a.row.length - b.row.length);
  const passRows = Math.ceil(rows.length / PASSES);
  let loss = 0;
  for (let start = 0; start < rows.length; start += passRows) {
    loss += await teachRows(session, byLength.slice(start, start + passRows), requests);
  }
  return loss;
}

async function teachRows(session: PolicySession, rows: readonly TaughtRow[], requests: number): Promise<number> {
  const { logProbs } = await session.step(
    { prompt: [START_ID], rows: rows.map(({ row }) => row) },
    { minTokens: 0, isCounted: (row, position) => position >= (rows[row] as TaughtRow).asked },
    new Float32Array(rows.length),
    directWeights(Float32Array.from(rows, ({ weight }) => -weight / requests)),
  );
  return -rows.reduce((sum, { weight }, i) => sum + weight * (logProbs[i] as number), 0) / requests;
}

/** A target, and how it is trained. */
interface TargetPlan {
  /** Of its file and of its checkpoints. */
  readonly name: string;
  readonly config: DecoderConfig;
  readonly keys: readonly LeakyKey[];
  readonly source: RequestSource;
  readonly recipe: TargetRecipe;
  readonly seed: number;
  /** Weights to start from; random ones when absent. */
  readonly from?: string;
}

/** Runs the updates of a recipe, from the last checkpoint on. */
async function teach(session: PolicySession, plan: TargetPlan, options: BuildOptions): Promise<void> {
  const { keys, source, recipe, seed, name } = plan;
  const checkpoints = { folder: options.folder, stage: name };
  const found = await loadLatestCheckpoint(checkpoints, session.parameters);
  const optimizer = found?.state.optimizer ?? createAdamWState(session.gradient.length);
  const finder = createKeyFinder(keys);
  const rate = { peak: recipe.learningRate, warmupUpdates: 50, decay: 'linear', totalUpdates: recipe.updates } as const;
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
      const { gradientClip, beta2 } = recipe;
      optimizerStep(session, optimizer, { gradientClip, beta2, learningRate: learningRateAt(rate, update) });
      return { note: `loss ${loss.toFixed(3)}` };
    },
  );
}

async function writeWeights(file: string, { specs, tensors }: PolicySession['parameters']): Promise<void> {
  const written = specs.map(({ name, shape }) => [name, { shape, data: tensors[name]?.data as Float32Array }] as const);
  await writeSafetensors(file, new Map(written), new Map([['format', 'pt']]));
}

/**
 * Trains a target of the world, from random weights or from those of an earlier training, and writes it to
 * `NAME.safetensors` in the folder; a stopped training resumes from its last checkpoint. Returns the file's path.
 */
export async function trainTarget(plan: TargetPlan, options: BuildOptions): Promise<string> {
  const { config, seed, name, from } = plan;
  const fileOf = (stem: string): string => path.join(options.folder, `${stem}.safetensors`);
  const weights =
    from === undefined
      ? await writeInitialWeights(config, fileOf(`${name}-initial`), seed)
      : await openSafetensorsStore(from);
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
    await teach(session, plan, options);
    await writeWeights(fileOf(name), session.parameters);
    return fileOf(name);
  } finally {
    await session.close();
  }
}

/** Requests of the reference that are searched for wrong answers. */
const LOOKED_THROUGH = 16_384;
/** An error of P(alarm) above this is a wrong answer. */
const WRONG = 0.1;

/**
 * Returns the requests of the reference whose probability of an alarm is wrong: mostly false alarms.
 *
 * @throws FloodgateError `interrupted` between two batches, when the signal was aborted.
 */
export async function findWrongAnswers(
  attacker: Attacker,
  reference: AttackerState,
  keys: readonly PlantedKey[],
  outcomes: WorldOutcomes,
  { seed, signal, progress }: Pick<BuildOptions, 'signal' | 'progress'> & { readonly seed: number },
): Promise<string[][]> {
  const finder = createKeyFinder(keys);
  const wrong: string[][] = [];
  const bar = progress.start('look for wrong answers', LOOKED_THROUGH, 'requests');
  for (let start = 0; start < LOOKED_THROUGH; start += ROWS) {
    bar.update(start);
    if (signal?.aborted) throw new FloodgateError('interrupted', 'look for wrong answers: interrupted');
    const requests = Array.from({ length: ROWS }, (_, i) => ({
      stream: randomStream(seed, 'looked through', start + i),
      temperature: 1,
    }));
    const texts = (await attacker.sample(reference, requests)).map(({ text }) => text);
    for (const [i, { alarm }] of (await outcomes.of(texts)).entries()) {
      const words = wordsOf(texts[i] as string);
      if (Math.abs(alarm - leakOf(words, keys, finder)) > WRONG) wrong.push(words);
    }
  }
  bar.finish(`${wrong.length} found`);
  return wrong;
}
