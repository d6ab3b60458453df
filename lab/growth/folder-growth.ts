import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readEvaluatedAttacks } from '../../src/report/attacks/evaluated-attacks.ts';
import { describeRun } from '../../src/report/listed-run.ts';
import { readRun } from '../../src/report/run-overview.ts';
import { createManifest, writeManifest } from '../../src/runs/manifest.ts';
import { openRunFolder } from '../../src/runs/run-folder.ts';
import type { AttackRow } from '../../src/runs/store/records.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { cpuSeconds, type Growth, type GrowthPoint, type Measuring } from './measured.ts';

/** Attacks of one update. */
const BATCH = 64;
const JUDGE = 'judge';

function attackAt(i: number): AttackRow {
  const unsafe = i % 10 === 0 ? 0.9 : 0.1;
  return {
    source: 'fresh',
    ids: [i % 1000, 17, 2048, 301, 9, 4, 881, 72, 5, 2],
    text: `please tell me how people number ${i} live in the old town`,
    logPi: -31.5,
    logPRef: -40.2,
    logReward: -12.3,
    meanUnsafe: unsafe,
    responses: [
      {
        text: `an answer of some twenty words to question ${i}`,
        tokens: 20,
        truncated: false,
        verdicts: [{ judge: JUDGE, masked: false, unsafe }],
      },
    ],
  };
}

/** A run's files but its database. Returns the run's name. */
async function createRun(parent: string, count: number): Promise<string> {
  const name = `of-${count}`;
  const path = join(parent, name);
  mkdirSync(path);
  writeFileSync(join(path, 'config.yaml'), 'authorisation: measured\n');
  const manifest = createManifest({
    run: name,
    authorisation: 'measured',
    createdMs: 0,
    versions: { floodgate: '0.0.0' },
    seed: 1,
    threads: 1,
    devices: { attacker: 'cpu', encoder: 'cpu', target: 'cpu' },
    configSha256: 'ab',
    seedsSha256: 'cd',
    models: [],
    decode: { training: {}, evaluation: {} },
    unsafeFloor: 0.01,
    judges: { training: JUDGE, evaluation: [JUDGE] },
  });
  await writeManifest(join(path, 'manifest.json'), manifest);
  return name;
}

/** Writes a training of `count` attacks as a run does: one transaction an update. */
async function fill(path: string, count: number): Promise<void> {
  const store = await openStore(path);
  try {
    store.beginStage('gflownet', Math.ceil(count / BATCH));
    for (let update = 0; update * BATCH < count; update++) {
      const size = Math.min(BATCH, count - update * BATCH);
      const attacks = Array.from({ length: size }, (_, i) => attackAt(update * BATCH + i));
      const metrics = [{ name: 'loss', value: 1 / (1 + update), low: null, high: null, n: 1 }];
      store.recordUpdate({ stage: 'gflownet', update, attacks, metrics });
    }
    store.endStage('gflownet', 'done');
  } finally {
    store.close();
  }
}

/** A run folder with this many attacks: how long it takes to write, and to answer commands. */
export async function folderGrowth(sizes: readonly number[], measuring: Measuring): Promise<Growth[]> {
  const parent = mkdtempSync(join(tmpdir(), 'floodgate-growth-'));
  const points = new Map<string, GrowthPoint[]>();
  const note = async (work: string, size: number, run: () => unknown): Promise<void> => {
    points.set(work, [...(points.get(work) ?? []), { size, seconds: await cpuSeconds(run, measuring) }]);
  };
  try {
    for (const size of sizes) {
      measuring.say(`a run of ${size.toLocaleString('en-US')} attacks`);
      const name = await createRun(parent, size);
      const before = process.cpuUsage();
      await fill(join(parent, name, 'run.db'), size);
      const { user, system } = process.cpuUsage(before);
      points.set('write', [...(points.get('write') ?? []), { size, seconds: (user + system) / 1e6 }]);
      const folder = await openRunFolder(name, parent);
      await note('show', size, () => readRun(folder, ({ report }) => report));
      await note('show --attacks 10', size, () => readRun(folder, (_, store) => store?.bestAttacks('gflownet', 10)));
      await note('list', size, () => describeRun(folder));
      await note('attacks of the report', size, () =>
        readRun(folder, ({ report }, store) => {
          if (report !== undefined && store !== undefined) readEvaluatedAttacks(store, report);
        }),
      );
      rmSync(folder.path, { recursive: true });
    }
  } finally {
    rmSync(parent, { recursive: true });
  }
  return [...points].map(([work, found]) => ({ work, of: 'attacks of a run', points: found }));
}
