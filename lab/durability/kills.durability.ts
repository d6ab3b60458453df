import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { type Kill, killAndContinue, type Section, sectionsOf } from '../../test/stages/killed-run.ts';
import { type FolderContent, folderDifferences, readFolderContent } from './folder-content.ts';
import { countBySection, repeatedCallsOf } from './kill-summary.ts';
import { createScenes, type Scene, type Scenes } from './scenes.ts';

/** `DURABILITY_KILLS` and `DURABILITY_SEED` change them. */
const KILLS = Number(process.env.DURABILITY_KILLS ?? 100);
const SEED = Number(process.env.DURABILITY_SEED ?? 1);
const KILLS_OF_ONE_RUN = 10;
/** So many kills of a scene reach each of its sections. */
const ENOUGH = 50;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

let made: Scenes;
beforeAll(async () => {
  made = await createScenes();
});
afterAll(() => made?.remove());

interface Whole {
  readonly sections: readonly Section[];
  readonly content: FolderContent;
}

/** The scene's work as nobody interrupts it. */
async function wholeOf(scene: Scene): Promise<Whole> {
  scene.reset();
  const process = scene.goOn();
  const { code, stderr } = await process.outcome;
  if (code !== 0) throw new Error(`${scene.name}, uninterrupted, ended with ${code}: ${stderr}`);
  const sections = sectionsOf(process, performance.now() - process.startedMs);
  say(`${scene.name}, uninterrupted: ${sections.map(({ label, ms }) => `${label} ${ms.toFixed(0)} ms`).join(', ')}`);
  return { sections, content: readFolderContent(scene.folder) };
}

async function killScene(scene: Scene, wanted: number): Promise<void> {
  const { sections, content } = await wholeOf(scene);
  const kills: Kill[] = [];
  let targetCalls = 0;
  let judgeCalls = 0;
  let trials = 0;
  for (; kills.length < wanted; trials++) {
    const stream = randomStream(SEED, 'durability', scene.name, trials);
    scene.reset();
    const some = Math.min(KILLS_OF_ONE_RUN, wanted - kills.length);
    const ofTrial = await killAndContinue(() => scene.goOn(), { sections, kills: some, stream });
    kills.push(...ofTrial);
    const again = repeatedCallsOf(scene.folder);
    targetCalls += again.targetCalls;
    judgeCalls += again.judgeCalls;
    const differences = folderDifferences(content, readFolderContent(scene.folder));
    const where = ofTrial.map(({ section, afterMs }) => `${section} at ${(afterMs / 1000).toFixed(2)} s`).join(', ');
    const outcome = differences.length === 0 ? 'same' : 'DIFFERENT';
    say(`${scene.name} ${kills.length}/${wanted} kills, trial ${trials} ${outcome}: ${where}`);
    for (const difference of differences) say(difference);
    expect(differences, `${scene.name}, trial ${trials} of seed ${SEED}`).toEqual([]);
  }
  const labels = sections.map(({ label }) => label);
  const counts = countBySection(kills, labels);
  say(`RESULT ${scene.name}: ${kills.length} kills over ${trials} trials`);
  for (const [label, count] of counts) say(`| ${scene.name} | ${label} | ${count} |`);
  say(`made again in ${scene.name}: ${targetCalls} target calls, ${judgeCalls} judge calls`);
  if (wanted >= ENOUGH) expect(counts.size).toBeGreaterThan(1);
}

/** Which scenes: all of them in this order; names here, since they are made later. */
const NAMES = ['transfer', 'tune', 'rounds', 'robustness', 'stages', 'world'];

describe(`${KILLS} kills over all stages and studies leave the bytes and rows of uninterrupted ones`, () => {
  test.each(NAMES)('%s', async (name) => {
    const scene = made.scenes.find((each) => each.name === name);
    if (scene === undefined) throw new Error(`no scene ${name}`);
    await killScene(scene, Math.max(1, Math.round(KILLS * scene.share)));
  });
  test('are all scenes there are', () => {
    expect(made.scenes.map(({ name }) => name)).toEqual(NAMES);
    expect(made.scenes.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1);
  });
});
