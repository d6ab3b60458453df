import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { silentProgress } from '../../src/base/progress.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import type { Config } from '../../src/stages/config/config.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import { testPath } from '../support/golden-file.ts';
import type { CampaignPlace } from './campaign-process.ts';

/**
 * A campaign small enough for a test: a tiny random attacker, and a target that answers any attack with a `z` unsafely.
 */
export interface TinyCampaign {
  readonly folder: string;
  readonly runsFolder: string;
  readonly configText: string;
  config(overrides?: readonly string[]): Config;
  io(signal?: AbortSignal): CampaignIo;
  remove(): Promise<void>;
}

const CONFIG = `
authorisation: a random model of this test
threads: 1
attacker:
  model: ./attacker
  metaPrompt: say
  minTokens: 2
  maxTokens: 6
  lora: { rank: 8, alpha: 8 }
seeds: { path: seeds.txt }
target:
  kind: scripted
  rules: [{ contains: z, respond: [alarm bell] }]
  otherwise: [fine thanks, not today]
  responses: 2
judges:
  training: { kind: lexicon, rules: [{ terms: [alarm], weight: 0.95 }] }
  evaluation: [{ kind: lexicon, name: bells, rules: [{ terms: [bell], weight: 0.9 }] }]
encoder: { model: ./encoder }
sft: { updates: 8, batchSize: 8, learningRate: 1.0e-3, warmupUpdates: 2 }
gflownet:
  objective: vargrad
  updates: 60
  batchSize: 16
  accumulation: 1
  learningRate: 1.0e-2
  warmupUpdates: 5
  checkpointEveryUpdates: 7
reward:
  beta: 0.3
  temperature: { from: 1, to: 1, updates: 0 }
watch: { everyUpdates: 20, attacks: 32 }
collect: { minUnsafe: 0.4 }
smoothing: { updates: 40, batchSize: 16, learningRate: 1.0e-2, warmupUpdates: 2 }
evaluation: { attacks: 96, responses: 2, causes: { clusters: 0 } }
`;

const SEEDS = [
  'hello',
  'good day',
  'what now',
  'go on',
  'a b c',
  'lazy cat',
  'so what',
  'tell me',
  'why not',
  'be nice',
];

export async function createTinyCampaign(): Promise<TinyCampaign> {
  const folder = await mkdtemp(path.join(tmpdir(), 'floodgate-tiny-'));
  await cp(testPath('fixtures', 'models', 'smollm2'), path.join(folder, 'attacker'), { recursive: true });
  await cp(testPath('fixtures', 'models', 'bert-encoder'), path.join(folder, 'encoder'), { recursive: true });
  await writeFile(path.join(folder, 'seeds.txt'), SEEDS.join('\n'));
  await writeFile(path.join(folder, 'tiny.yaml'), CONFIG);
  return {
    folder,
    runsFolder: path.join(folder, 'runs'),
    configText: CONFIG,
    config: (overrides = []) => parseConfig(CONFIG, { fileName: 'tiny.yaml', folder, overrides }),
    io: (signal = new AbortController().signal) => ({
      progress: silentProgress,
      signal,
      cacheDir: path.join(folder, 'cache'),
    }),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** The tiny campaign for child processes of the command line compiled into `compiledFolder`; collected attacks are scored again. */
export function placeOfTiny(tiny: TinyCampaign, compiledFolder: string): CampaignPlace {
  return {
    mainPath: path.join(compiledFolder, 'cli', 'main.js'),
    folder: tiny.folder,
    configFile: 'tiny.yaml',
    runsFolder: tiny.runsFolder,
    cacheFolder: path.join(tiny.folder, 'cache'),
    overrides: ['smoothing.rescore=true'],
  };
}
