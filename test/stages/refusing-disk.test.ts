import { chmodSync, cpSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CampaignPlace, type Outcome, resumeProcess, startRunProcess } from './campaign-process.ts';
import { createTinyWholeRun, type TinyWholeRun } from './whole-run.ts';

let whole: TinyWholeRun;

beforeAll(async () => {
  whole = await createTinyWholeRun(['attacker.lora.rank=64', 'attacker.lora.alpha=64']); // checkpoints that outgrow the database
});
afterAll(() => whole.remove());

function expectRefused({ code, stderr }: Outcome, reason: RegExp): void {
  expect(code, stderr).toBe(1);
  expect(stderr).toMatch(reason);
  expect(stderr).toMatch(/^hint: /m);
  expect(stderr).not.toMatch(/--debug shows/); // that hint is for errors that nobody foresaw
}

describe('a disk that takes no more', () => {
  /** `ulimit -f`: the system refuses to let any file grow beyond so many blocks (EFBIG), as a full disk would. */
  const limitTo = (bytes: number) => ({ before: `ulimit -f ${Math.ceil(bytes / 512)}` });

  test.each([0.4, 0.8])(
    'no file may reach %d of the database: it stops with the reason, then ends the same',
    async (share) => {
      const name = `full-${share * 10}`;
      const { size } = statSync(path.join(whole.pathOf('whole'), 'run.db'));
      const run = startRunProcess(whole.place, name, limitTo(Math.floor(size * share)));
      expectRefused(await run.outcome, /error: write .*: the (disk|file)/);
      const resumed = await resumeProcess(whole.place, name).outcome;
      expect(resumed.code, resumed.stderr).toBe(0);
      expect(whole.differences(name)).toEqual([]);
    },
  );

  test('a checkpoint cannot be written: no half file stays, and nothing before it is lost', async () => {
    const folder = path.join(whole.pathOf('whole'), 'checkpoints');
    const first = readdirSync(folder).find((file) => file.startsWith('sft-')) as string;
    const { size } = statSync(path.join(folder, first));
    const run = startRunProcess(whole.place, 'full-checkpoint', limitTo(Math.floor(size * 0.9)));
    expectRefused(await run.outcome, /error: write .*checkpoints.*(EFBIG|ENOSPC)/);
    const left = readdirSync(path.join(whole.pathOf('full-checkpoint'), 'checkpoints'));
    expect(left.filter((file) => file.includes('partial'))).toEqual([]);
    const resumed = await resumeProcess(whole.place, 'full-checkpoint').outcome;
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(whole.differences('full-checkpoint')).toEqual([]);
  });
});

describe('a folder that cannot be written', () => {
  /** Permissions do not bind root, so root becomes nobody for these. */
  const NOBODY = 65_534;
  const asNobody = process.getuid?.() === 0 ? { uid: NOBODY } : {};

  /** A place whose files everybody can read, so that nobody can run there; its runs folder is read-only. */
  function readOnlyPlace(name: string): CampaignPlace {
    const runsFolder = path.join(whole.tiny.folder, name);
    mkdirSync(runsFolder);
    for (const folder of [whole.tiny.folder, path.join(whole.place.mainPath, '..', '..', '..')])
      chmodSync(folder, 0o755);
    return { ...whole.place, runsFolder };
  }

  test('a new run is refused before anything is made', async () => {
    const place = readOnlyPlace('locked-runs');
    chmodSync(place.runsFolder, 0o555);
    const { outcome } = startRunProcess(place, 'new', asNobody);
    expectRefused(await outcome, /error: write .*: permission denied \(EACCES\)/);
    expect(readdirSync(place.runsFolder)).toEqual([]);
  });

  test('a run cannot be resumed where its folder is read-only, and is left as it was', async () => {
    const place = readOnlyPlace('locked-run');
    const folder = path.join(place.runsFolder, 'old');
    cpSync(whole.pathOf('whole'), folder, { recursive: true });
    const before = readdirSync(folder);
    chmodSync(folder, 0o555);
    expectRefused(
      await resumeProcess(place, 'old', asNobody).outcome,
      /error: write .*lock: permission denied \(EACCES\)/,
    );
    expect(readdirSync(folder)).toEqual(before);
  });
});
