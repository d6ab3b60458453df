import { cpSync, existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ALL_STAGES, SMALL_STAGES } from '../../test/stages/all-stages.ts';
import {
  type CampaignPlace,
  type CampaignProcess,
  resumeProcess,
  startProcess,
  startRunProcess,
} from '../../test/stages/campaign-process.ts';
import { placeOfTiny } from '../../test/stages/tiny-campaign.ts';
import { createTinyTarget } from '../../test/studies/robustness/tiny-target.ts';
import { compileSource } from '../../test/support/compiled-source.ts';

/** Work with a folder of its own that is killed and continued. */
export interface Scene {
  readonly name: string;
  /** Its share of all kills. */
  readonly share: number;
  readonly folder: string;
  /** Brings the folder to where the work begins. */
  reset(): void;
  /** Starts the work, or continues it. */
  goOn(): CampaignProcess;
}

export interface Scenes {
  readonly scenes: readonly Scene[];
  remove(): Promise<void>;
}

const WORLD = `
world: { seed: 3, keys: 24 }
threads: 1
attackers: [sft, exact]
sft: { updates: 6, warmupUpdates: 1 }
evaluation: { attacks: 64, controls: 8, causes: { clusters: 4 } }
`;

const TARGETS = `
targets:
  - { kind: local, name: same, model: ./attacker, decode: { temperature: 1, maxNewTokens: 1 }, responses: 2 }
  - { kind: scripted, name: other, rules: [{ contains: e, respond: [alarm bell] }], otherwise: [fine] }
  - { kind: scripted, name: third, rules: [{ contains: a, respond: [alarm bell] }], otherwise: [fine] }
`;

/** A run that is started, then resumed. */
function runScene(name: string, share: number, place: CampaignPlace): Scene {
  const folder = path.join(place.runsFolder, name);
  return {
    name,
    share,
    folder,
    reset: () => rmSync(folder, { recursive: true, force: true }),
    goOn: () => (existsSync(folder) ? resumeProcess(place, name) : startRunProcess(place, name)),
  };
}

/** A study over a finished run: the same command continues it. */
function studyScene(name: string, place: CampaignPlace, args: readonly string[]): Scene {
  const folder = path.join(place.runsFolder, 'studied');
  return {
    name,
    share: 0.1,
    folder,
    reset: () => {
      rmSync(folder, { recursive: true, force: true });
      cpSync(path.join(place.folder, 'stored-run'), folder, { recursive: true });
    },
    goOn: () => startProcess(place, [name, folder, ...args]),
  };
}

/** Makes the run that the studies are over, and puts it aside: a study changes the run. */
async function storeStudied(place: CampaignPlace): Promise<void> {
  const { code, stderr } = await startRunProcess(place, 'studied').outcome;
  if (code !== 0) throw new Error(`the run for the studies ended with ${code}: ${stderr}`);
  renameSync(path.join(place.runsFolder, 'studied'), path.join(place.folder, 'stored-run'));
}

/** Every stage and every study, each as small as possible. */
export async function createScenes(): Promise<Scenes> {
  const compiled = compileSource();
  const tiny = await createTinyTarget();
  const place = placeOfTiny(tiny, compiled.folder);
  writeFileSync(path.join(tiny.folder, 'world.yaml'), WORLD);
  writeFileSync(path.join(tiny.folder, 'targets.yaml'), TARGETS);
  const against = [...SMALL_STAGES, 'ppo={updates: 2, batchSize: 8, minibatchSize: 8, warmupUpdates: 0}'];
  const target = { ...place, configFile: 'target.yaml', overrides: [...against, 'attackers=[sft, ppo]'] };
  await storeStudied(target);
  const rounds = path.join(place.runsFolder, 'rounds');
  const set = against.flatMap((override) => ['--set', override]);
  const scenes: Scene[] = [
    studyScene('transfer', target, ['--targets', 'targets.yaml']),
    studyScene('tune', target, ['--stage', 'sft']),
    {
      name: 'rounds',
      share: 0.1,
      folder: rounds,
      reset: () => rmSync(rounds, { recursive: true, force: true }),
      goOn: () =>
        startProcess(target, [
          'rounds',
          'target.yaml',
          '--rounds',
          '2',
          '--attacker',
          'ppo',
          '--name',
          'rounds',
          ...set,
        ]),
    },
    studyScene('robustness', target, ['--data', 'sft', 'ppo', '--retrain', 'ppo']),
    runScene('stages', 0.5, { ...place, overrides: [...SMALL_STAGES, ALL_STAGES] }),
    runScene('world', 0.1, { ...place, configFile: 'world.yaml', overrides: [] }),
  ];
  const remove = async (): Promise<void> => {
    compiled.remove();
    await tiny.remove();
  };
  return { scenes, remove };
}
