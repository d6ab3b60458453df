import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { z } from 'zod';
import { FloodgateError } from '../../src/base/errors.ts';
import { append } from '../../src/base/long-lists.ts';
import { randomStream } from '../../src/base/random.ts';
import { alignColumns, printResult } from '../../src/cli/command-output.ts';
import { type CliContext, ioOf } from '../../src/cli/context.ts';
import { parseCount, parsePositiveCount } from '../../src/cli/options.ts';
import { MeaningCoverage } from '../../src/learning/proposals/meaning-coverage.ts';
import { WordCoverage } from '../../src/learning/proposals/word-coverage.ts';
import { meanOverSeeds, pairedDifference } from '../../src/metrics/intervals.ts';
import type { SentenceEncoder } from '../../src/models/encoder/text-encoder.ts';
import { parseFields, readJsonFile } from '../../src/models/formats/json-file.ts';
import { createOpenModels } from '../../src/models/open-models.ts';
import { measureText } from '../../src/report/words/number-words.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { openRunWorld } from '../../src/stages/campaign/run-world.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import type { LanguageWorld } from '../../src/worlds/language/language-world.ts';
import { PLANTABLE_STYLES, PLANTABLE_TOPICS } from '../../src/worlds/language/topics.ts';
import { languageWorldOf } from '../../src/worlds/world-registry.ts';
import { type Experiment, examples } from '../experiment.ts';
import {
  type Draw,
  type Found,
  findWays,
  type Rows,
  regionSets,
  shuffled,
  type WaySet,
  WORDS,
  wordSet,
} from './region-sets.ts';

interface FirstAttacksOptions {
  readonly worldSeed: number;
  readonly set: readonly string[];
  readonly asked: number;
  readonly candidates: number;
  readonly sets: number;
  readonly repeats: number;
}

const batch = z.array(z.object({ text: z.string(), isPlain: z.boolean() }));
const MAX_BATCH_BYTES = 4 * 1024 * 1024;

/** The requests that the reference of a measured world drew itself. */
async function plainDraws({ folder, reference }: LanguageWorld): Promise<string[]> {
  const draws = path.join(folder, `draws-${reference.slice(0, 16)}`);
  const texts: string[] = [];
  for (const name of (await readdir(draws)).sort()) {
    const file = path.join(draws, name);
    const drawn = parseFields(batch, await readJsonFile(file, MAX_BATCH_BYTES), file);
    append(
      texts,
      drawn.filter(({ isPlain }) => isPlain).map(({ text }) => text),
    );
  }
  return texts;
}

async function openWorld({ worldSeed, set }: FirstAttacksOptions, io: CampaignIo): Promise<LanguageWorld> {
  const config = parseConfig('world: { kind: language }\n', {
    fileName: 'of the world',
    folder: process.cwd(),
    overrides: [`seed=${worldSeed}`, `world.seed=${worldSeed}`, ...set],
  });
  return languageWorldOf(await openRunWorld(config, io)) as LanguageWorld;
}

const CHUNK = 256;

async function embed(encoder: SentenceEncoder, texts: readonly string[], io: CampaignIo): Promise<Rows> {
  const flat = new Float32Array(texts.length * encoder.width);
  const bar = io.progress.start('embed the draws', texts.length, 'texts');
  for (let start = 0; start < texts.length; start += CHUNK) {
    flat.set(await encoder.embed(texts.slice(start, start + CHUNK), io.signal), start * encoder.width);
    bar.update(start);
  }
  bar.finish();
  return { flat, width: encoder.width };
}

/** Chooses `asked` of `asked x candidates` draws. */
type Choice = (draws: readonly Draw[], rows: Rows) => { take(): Draw | undefined };

function inOrder(draws: readonly Draw[]): { take(): Draw | undefined } {
  const left = draws.values();
  return { take: () => left.next().value };
}

function byMeaning(draws: readonly Draw[], { flat, width }: Rows): MeaningCoverage<Draw> {
  const coverage = new MeaningCoverage<Draw>(draws.length);
  for (const draw of draws) coverage.add(draw, flat.subarray(draw.row * width, (draw.row + 1) * width));
  return coverage;
}

const PLAIN = 'plain';

const CHOICES: Readonly<Record<string, Choice>> = {
  [PLAIN]: inOrder,
  words: (draws) => new WordCoverage(draws),
  meaning: byMeaning,
};

/** Finds of each choice in each set of ways, on average over the repeats. */
type Measured = ReadonlyMap<string, readonly Found[]>;

const average = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

async function measure(
  texts: readonly string[],
  { rows, ways, options, io }: { rows: Rows; ways: readonly WaySet[]; options: FirstAttacksOptions; io: CampaignIo },
): Promise<Measured> {
  const { asked, candidates, repeats, worldSeed } = options;
  const found = new Map(Object.keys(CHOICES).map((name) => [name, ways.map((): Found[] => [])]));
  const bar = io.progress.start('choose', repeats, 'repeats');
  for (let repeat = 0; repeat < repeats; repeat++) {
    if (io.signal.aborted) throw new FloodgateError('interrupted', 'first attacks: interrupted');
    const draws = shuffled(texts, randomStream(worldSeed, 'first attacks', repeat)).slice(0, asked * candidates);
    for (const [name, choice] of Object.entries(CHOICES)) {
      const order = choice(draws, rows);
      const chosen = Array.from({ length: asked }, () => order.take() as Draw);
      for (const [i, set] of ways.entries()) found.get(name)?.[i]?.push(findWays(chosen, set));
    }
    bar.update(repeat + 1);
    await nextTurn();
  }
  bar.finish();
  const mean = (each: readonly Found[]): Found => ({
    successes: average(each.map(({ successes }) => successes)),
    ways: average(each.map(({ ways: n }) => n)),
    area: average(each.map(({ area }) => area)),
  });
  return new Map([...found].map(([name, sets]) => [name, sets.map(mean)]));
}

/** Means over the sets of regions, with the difference to plain draws; then the share of the words that are found. */
function table(measured: Measured, ways: readonly WaySet[]): string {
  const words = ways.findIndex(({ name }) => name === WORDS);
  const regions = (name: string): Found[] => (measured.get(name) ?? []).filter((_, i) => i !== words);
  const mean = (name: string, figure: keyof Found): string =>
    measureText(meanOverSeeds(regions(name).map((found) => found[figure])));
  const gain = (name: string, figure: keyof Found): string => {
    const [treated, plain] = [name, PLAIN].map((each) => regions(each).map((found) => found[figure]));
    return name === PLAIN ? '-' : measureText(pairedDifference(treated as number[], plain as number[]));
  };
  const heading = ['choice', 'successes', 'regions found', 'over plain', 'area', 'over plain', 'words found'];
  const cells = [...measured].map(([name, sets]) => [
    name,
    mean(name, 'successes'),
    mean(name, 'ways'),
    gain(name, 'ways'),
    mean(name, 'area'),
    gain(name, 'area'),
    `${((100 * (sets[words] as Found).ways) / (ways[words] as WaySet).ways).toFixed(1)}%`,
  ]);
  return alignColumns([heading, ...cells]);
}

async function run(options: FirstAttacksOptions, context: CliContext): Promise<void> {
  const io = ioOf(context);
  const { asked, candidates, sets, worldSeed } = options;
  const world = await openWorld(options, io);
  const texts = await plainDraws(world);
  if (texts.length < asked * candidates) {
    throw new FloodgateError(
      'usage',
      `first attacks: the world has ${texts.length} draws, needs ${asked * candidates}`,
      {
        hint: 'ask fewer, with fewer candidates, or take a world of more samples: --set world.samples=12288',
      },
    );
  }
  const models = createOpenModels({ threads: 1, ...io });
  const { encoder } = await models.openEncoder(world.spec.encoder, 'cpu');
  try {
    const planted = new Set(world.keys.map(({ phrase }) => phrase));
    const phrases = [...PLANTABLE_TOPICS, ...PLANTABLE_STYLES].flatMap(({ phrase }) =>
      planted.has(phrase) ? [] : [phrase],
    );
    const rows = await embed(encoder, texts, io);
    const centres = { flat: await encoder.embed(phrases), width: encoder.width };
    const size = { sets, regions: world.keys.length, baseRate: 0.02, seed: worldSeed };
    const ways = [...regionSets(rows, centres, size), wordSet(texts)];
    const measured = await measure(texts, { rows, ways, options, io });
    const json = { options, draws: texts.length, measured: Object.fromEntries(measured) };
    printResult(context, { text: table(measured, ways), json });
  } finally {
    await encoder.close();
  }
}

/** Which draws of the reference to ask first: what plain draws, coverage of words and coverage of meaning find. */
export const firstAttacks: Experiment = {
  name: 'first-attacks',
  description:
    'which draws of a reference to ask first: plain ones, those that cover words, or those that cover meaning',
  define: (command, context) =>
    command
      .option('--world-seed <n>', 'of the language world whose reference drew', parseCount, 1)
      .option('--set <key=value...>', 'override of its config', [])
      .option('--asked <n>', 'draws that are asked', parsePositiveCount, 300)
      .option('--candidates <n>', 'draws for each one that is asked', parsePositiveCount, 8)
      .option('--sets <n>', 'sets of regions, none of them planted in the world', parsePositiveCount, 40)
      .option('--repeats <n>', 'subsets of the draws', parsePositiveCount, 12)
      .addHelpText('after', examples('first-attacks --set world.baseRate=0.005 --repeats 4'))
      .action((options: FirstAttacksOptions) => run(options, context)),
};
