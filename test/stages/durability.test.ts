import { cpSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import {
  type CampaignProcess,
  type ProcessOptions,
  resumeProcess,
  startProcess,
  startRunProcess,
} from './campaign-process.ts';
import { runWithKills } from './killed-run.ts';
import { contentDifferences, readRunContent } from './run-content.ts';
import { createTinyWholeRun, type TinyWholeRun } from './whole-run.ts';

let whole: TinyWholeRun;

beforeAll(async () => {
  whole = await createTinyWholeRun();
});
afterAll(() => whole.remove());

async function until(run: CampaignProcess, isReached: () => boolean): Promise<void> {
  while (!isReached() && run.child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 2));
}

const checkpointsOf = (name: string, stage: string): string[] =>
  readdirSync(path.join(whole.pathOf(name), 'checkpoints'))
    .filter((file) => file.startsWith(`${stage}-0`))
    .sort();

/** A run killed in its GFlowNet stage, with two checkpoints of it. */
async function killedInGflownet(name: string): Promise<void> {
  const run = startRunProcess(whole.place, name);
  await until(run, () => run.sections.length > 0 && checkpointsOf(name, 'gflownet').length > 1);
  run.kill('SIGKILL');
  expect((await run.outcome).signal).toBe('SIGKILL');
}

describe('a damaged checkpoint', () => {
  const damages: [string, (file: string) => void][] = [
    ['cut short', (file) => truncateSync(file, Math.floor(statSync(file).size / 2))],
    [
      'changed in one bit of a weight',
      (file) => {
        const bytes = readFileSync(file);
        const at = bytes.length - 1000;
        bytes[at] = (bytes[at] as number) ^ 1;
        writeFileSync(file, bytes);
      },
    ],
  ];
  const damaged = (name: string, damage: (file: string) => void, files: readonly string[]): void => {
    for (const file of files) damage(path.join(whole.pathOf(name), 'checkpoints', file));
  };

  test.each(damages)('%s: the one before is taken, the run says so and ends the same', async (what, damage) => {
    const name = `damaged-${what.replaceAll(' ', '-')}`;
    await killedInGflownet(name);
    const newest = checkpointsOf(name, 'gflownet').at(-1) as string;
    damaged(name, damage, [newest]);
    const resumed = await resumeProcess(whole.place, name).outcome;
    expect(resumed.code, resumed.stderr).toBe(0);
    const store = await openStore(path.join(whole.pathOf(name), 'run.db'));
    const warnings = store.events().filter(({ code }) => code === 'checkpoint-damaged');
    const repeated = store.repeatedCalls();
    store.close();
    expect(warnings.map(({ message }) => message)).toEqual([expect.stringContaining(newest)]);
    expect(repeated.reduce((sum, { targetCalls }) => sum + targetCalls, 0)).toBeGreaterThan(0);
    const found = readRunContent(whole.pathOf(name));
    const event = (found.tables.event ?? []).filter((row) => (row as { code: string }).code !== 'checkpoint-damaged');
    expect(contentDifferences(whole.content, { ...found, tables: { ...found.tables, event } })).toEqual([]);
  });

  test('when none can be read, the run is refused and says which file to delete', async () => {
    await killedInGflownet('all-damaged');
    damaged('all-damaged', (file) => truncateSync(file, 100), checkpointsOf('all-damaged', 'gflownet'));
    const { code, stderr } = await resumeProcess(whole.place, 'all-damaged').outcome;
    expect(code).toBe(1);
    expect(stderr).toMatch(/none of its 2 checkpoints can be read/);
    expect(stderr).toMatch(/hint: delete the damaged files/);
  });

  test('an attacker to be measured is refused when its bytes are not those written', async () => {
    cpSync(whole.pathOf('whole'), whole.pathOf('best-damaged'), { recursive: true });
    damaged('best-damaged', damages[1]?.[1] as (file: string) => void, ['gflownet-best.safetensors']);
    const { code, stderr } = await resumeProcess(whole.place, 'best-damaged').outcome;
    expect(code, stderr).toBe(0); // a finished run needs it no more
    const again = ['evaluate', whole.pathOf('best-damaged'), '--stage', 'gflownet', '--replace'];
    const evaluated = await startProcess(whole.place, again).outcome;
    expect(evaluated.code).toBe(1);
    expect(evaluated.stderr).toMatch(/gflownet-best\.safetensors: its bytes are not those written/);
  });
});

/** Moves the clock of a process: `Date` and `Date.now`, nothing else. */
function shiftedClock(days: number): ProcessOptions {
  const source = `const shift = ${days} * 86400000; const RealDate = Date;
    globalThis.Date = class extends RealDate {
      constructor(...args) { super(...(args.length === 0 ? [RealDate.now() + shift] : args)); }
      static now() { return RealDate.now() + shift; }
    };`;
  return { env: { NODE_OPTIONS: `--import "data:text/javascript,${encodeURIComponent(source)}"` } };
}

test('a clock that jumps back and forth between kill and resume changes nothing', async () => {
  const days = [0, -400, 30, -4000, 3];
  const kills = await runWithKills(whole.place, 'clock', {
    sections: whole.sections,
    kills: 4,
    stream: randomStream(7, 'clock'),
    optionsOf: (number) => shiftedClock(days[number] ?? 0),
  });
  expect(kills.length).toBeGreaterThan(1);
  expect(whole.differences('clock')).toEqual([]);
  const store = await openStore(path.join(whole.pathOf('clock'), 'run.db'));
  const started = store.stages().map(({ startedMs }) => startedMs);
  store.close();
  expect(Math.max(...started) - Math.min(...started)).toBeGreaterThan(86_400_000); // the clocks were really moved
});

test.each(['evaluate:sft', 're-score the collection'])(
  'killed inside "%s", twice, a run ends the same',
  async (label) => {
    const only = whole.sections.map((section) => (section.label === label ? section : { ...section, ms: 0 }));
    const at = only.findIndex((section) => section.label === label);
    expect(at).toBeGreaterThan(0);
    const name = `killed-in-${label.replaceAll(/[^a-z]/g, '-')}`;
    await runWithKills(whole.place, name, {
      sections: only,
      kills: 2,
      stream: randomStream(at, 'inside'),
      targets: [at, at],
    });
    expect(whole.differences(name)).toEqual([]);
  },
);
