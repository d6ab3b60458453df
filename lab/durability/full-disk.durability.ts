import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CampaignPlace, resumeProcess, startRunProcess } from '../../test/stages/campaign-process.ts';
import { contentDifferences, readRunContent } from '../../test/stages/run-content.ts';
import { createTinyWholeRun, type TinyWholeRun } from '../../test/stages/whole-run.ts';

/**
 * Real full and read-only file systems, for which one must be mounted (root, Linux). Without that right this file fails
 * and says so; `npm test` holds the same with `ulimit -f` and folder permissions, which every user may set.
 */
let whole: TinyWholeRun;
const mounted: string[] = [];

beforeAll(async () => {
  whole = await createTinyWholeRun();
});
afterAll(async () => {
  for (const folder of mounted) {
    // Lazy: SQLite's handle in this process goes with the garbage.
    execFileSync('umount', ['--lazy', folder]);
    rmdirSync(folder);
  }
  await whole.remove();
});

/** A place whose runs lie on a file system of so many bytes of their own. */
function placeOnDisk(bytes: number): { place: CampaignPlace; remount: (options: string) => void } {
  const folder = mkdtempSync(path.join(tmpdir(), 'floodgate-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', folder]);
  mounted.push(folder);
  const remount = (options: string): void => {
    execFileSync('mount', ['-o', `remount,${options}`, folder]);
  };
  return { place: { ...whole.place, runsFolder: folder }, remount };
}

describe('a disk that is full', () => {
  const databaseBytes = (): number => statSync(path.join(whole.pathOf('whole'), 'run.db')).size;

  test.each([0.5, 1, 2, 3])(
    'with room for %d databases the run stops with the reason, and ends the same',
    async (share) => {
      const { place, remount } = placeOnDisk(Math.ceil((share * databaseBytes()) / 4096) * 4096);
      const { code, stderr } = await startRunProcess(place, 'full').outcome;
      expect(code, stderr).toBe(1);
      expect(stderr).toMatch(/error: .*the disk (is full|reports an error)/);
      process.stderr.write(`room for ${share} databases: ${/error: .*/.exec(stderr)?.[0]}\n`);
      remount('size=200M');
      const again = await resumeProcess(place, 'full').outcome;
      expect(again.code, again.stderr).toBe(0);
      expect(contentDifferences(whole.content, readRunContent(path.join(place.runsFolder, 'full')))).toEqual([]);
    },
  );

  test('one that becomes read-only: refused with the reason, and nothing is lost', async () => {
    const { place, remount } = placeOnDisk(200 * 2 ** 20);
    const run = startRunProcess(place, 'moving');
    while (!run.sections.some(({ label }) => label === 'gflownet'))
      await new Promise((resolve) => setTimeout(resolve, 2));
    run.kill('SIGKILL');
    await run.outcome;
    remount('ro');
    const refused = await resumeProcess(place, 'moving').outcome;
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/error: write .*the file system is read-only/);
    remount('rw');
    const again = await resumeProcess(place, 'moving').outcome;
    expect(again.code, again.stderr).toBe(0);
    expect(contentDifferences(whole.content, readRunContent(path.join(place.runsFolder, 'moving')))).toEqual([]);
  });
});
