import { Option } from 'commander';
import { alignColumns, printResult } from '../../src/cli/command-output.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { parseCount, parsePositiveCount } from '../../src/cli/options.ts';
import { objectiveKinds } from '../../src/learning/objectives/registry.ts';
import { totalVariation } from '../../src/worlds/exact-sampler.ts';
import { type Experiment, examples } from '../experiment.ts';
import { ENUMERABLE_TRAINING, trainInEnumerableWorld } from './enumerable-training.ts';
import { ENUMERABLE_DEFAULTS, type EnumerableWorldOptions, openEnumerableWorld } from './enumerable-world.ts';

interface EnumerableOptions {
  readonly seed: number;
  readonly size: 'small' | 'full';
  /** A name of the registry. */
  readonly objective: string;
  readonly updates?: number;
  readonly responses?: number;
}

/** 155 attacks: a few seconds. The full world is that of docs/exactness.md. */
const SIZES = {
  small: {
    world: { words: 5, maxTokens: 3, keys: 4, referenceUpdates: 60 },
    training: { updates: 400, batchSize: 64 },
  },
  full: { world: ENUMERABLE_DEFAULTS, training: {} },
} as const satisfies Record<string, { world: Partial<EnumerableWorldOptions>; training: object }>;

/** How far the reference is from the exact posterior, and the attacker after its training. */
async function measureSampler({ seed, size, objective, updates, responses }: EnumerableOptions) {
  const { world: options, training } = SIZES[size];
  const kind = objectiveKinds.get(objective);
  const world = await openEnumerableWorld({ ...options, seed });
  try {
    const trained = await trainInEnumerableWorld(world, {
      ...ENUMERABLE_TRAINING,
      ...training,
      ...(updates === undefined ? {} : { updates }),
      ...(responses === undefined ? {} : { responses }),
      objective: kind.create(kind.settings?.parse(undefined)),
      seed,
    });
    return {
      attacks: world.sequences.length,
      logZ: world.logZ,
      referenceTotalVariation: totalVariation(world.logPRef.map(Math.exp), world.posterior),
      ...trained,
    };
  } finally {
    await world.close();
  }
}

async function runEnumerable(options: EnumerableOptions, context: CliContext): Promise<void> {
  const measured = await measureSampler(options);
  const { attacks, logZ, referenceTotalVariation, totalVariation: reached, logZError } = measured;
  const learned = logZError === undefined ? '-' : (logZ + logZError).toFixed(3);
  const text = [
    `${attacks} attacks, seed ${options.seed}, ${options.objective}`,
    alignColumns([
      ['', 'total variation', 'log Z'],
      ['exact posterior', '0', logZ.toFixed(3)],
      ['reference', referenceTotalVariation.toFixed(3), '-'],
      ['trained attacker', reached.toFixed(3), learned],
    ]),
    '',
    'Total variation to the exact posterior over every attack; nothing is sampled to measure it (docs/exactness.md).',
  ].join('\n');
  printResult(context, { text, json: { ...options, ...measured } });
}

/** `npm run lab -- enumerable`. */
export const enumerable: Experiment = {
  name: 'enumerable',
  description: 'the sampler against the exact posterior of an enumerable world (docs/exactness.md)',
  define: (command, context) =>
    command
      .option('--seed <seed>', 'of the world and the training', parseCount, 1)
      .addOption(
        new Option('--size <size>', 'small: 155 attacks, seconds; full: 11,110')
          .choices(['small', 'full'])
          .default('small'),
      )
      .addOption(
        new Option('--objective <name>', 'with its default settings').choices(objectiveKinds.names()).default('tb'),
      )
      .option(
        '--updates <count>',
        'updates (default: 400 in the small world, 1,600 in the full one)',
        parsePositiveCount,
      )
      .option('--responses <count>', 'sampled responses for each score (default: the exact score)', parsePositiveCount)
      .addHelpText('after', examples('enumerable', 'enumerable --objective vargrad', 'enumerable --size full --seed 2'))
      .action((options: EnumerableOptions) => runEnumerable(options, context)),
};
