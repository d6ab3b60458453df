import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AttackRow } from '../../../src/runs/store/records.ts';
import { openStore } from '../../../src/runs/store/run-store.ts';
import { SCHEMA_VERSION } from '../../../src/runs/store/schema.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-doubled-'));
  path = join(folder, 'run.db');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const attack = (text: string): AttackRow => ({
  source: 'fresh',
  ids: [1],
  text,
  responses: [{ text: 'no', tokens: 1, truncated: false, verdicts: [] }],
});
const update = (text: string) => ({
  stage: 'gflownet',
  update: 0,
  attacks: [attack(text)],
  cost: { targetCalls: 1, judgeCalls: 1, tokens: 1, seconds: 1 },
});

/** Runs SQL on the file, as an earlier version or another program would. */
function change(sql: string): void {
  const db = new Database(path);
  db.exec(sql);
  db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  db.close();
}

/** Makes the database what version 2 had: indexes that let doubled rows in. */
const AS_VERSION_2 = `DROP INDEX attack_by_update; CREATE INDEX attack_by_update ON attack (stage_id, update_index);
  DROP INDEX response_by_attack; CREATE INDEX response_by_attack ON response (attack_id, position);
  ALTER TABLE attack DROP COLUMN cell;
  PRAGMA user_version = 2;`;

describe('a second process that writes the same run', () => {
  it('is refused its update, whole, with its reason', async () => {
    const [first, second] = [await openStore(path), await openStore(path)];
    first.beginStage('gflownet', 1);
    first.recordUpdate(update('mine'));
    expect(() => second.recordUpdate(update('theirs'))).toThrow(/another process has written this update/);
    expect(first.attacks({ stage: 'gflownet' }).map(({ text }) => text)).toEqual(['mine']);
    expect(first.cost('gflownet').targetCalls).toBe(1);
    first.truncateAfter('gflownet', -1);
    second.recordUpdate(update('theirs'));
    first.close();
    second.close();
  });

  it('cannot double a response either', async () => {
    const store = await openStore(path);
    store.beginStage('gflownet', 1);
    store.recordUpdate(update('mine'));
    store.close();
    expect(() =>
      change(`INSERT INTO response SELECT 99, attack_id, position, text, tokens, truncated, refused FROM response`),
    ).toThrow(/UNIQUE/);
  });
});

describe('a database of schema 2', () => {
  beforeEach(async () => {
    const store = await openStore(path);
    store.beginStage('gflownet', 1);
    store.recordUpdate(update('mine'));
    store.close();
    change(AS_VERSION_2);
  });
  const versionOf = (): unknown => {
    const db = new Database(path);
    const version = db.prepare('PRAGMA user_version').raw().get();
    db.close();
    return version;
  };

  it('is read as it is, and refuses doubled rows once it is written', async () => {
    const reader = await openStore(path, { readOnly: true });
    expect(reader.attacks({ stage: 'gflownet' })).toHaveLength(1);
    reader.close();
    expect(versionOf()).toEqual([2]);
    const store = await openStore(path);
    expect(() => store.recordUpdate(update('again'))).toThrow(/another process/);
    store.close();
    expect(versionOf()).toEqual([SCHEMA_VERSION]);
  });

  it.each([
    [
      'attacks',
      `INSERT INTO attack SELECT 99, stage_id, update_index, position, source, ids, text, log_pi, log_p_ref, log_reward,
         mean_unsafe, response_count, fluency FROM attack`,
      2,
    ],
    [
      'responses',
      'INSERT INTO response SELECT 99, attack_id, position, text, tokens, truncated, refused FROM response',
      1,
    ],
  ])('with doubled %s is refused for writing, unchanged, and can still be read', async (_rows, sql, attacks) => {
    change(sql);
    await expect(openStore(path)).rejects.toMatchObject({
      code: 'store',
      message: expect.stringContaining('two processes have written the same update of this run'),
      hint: expect.stringContaining('start the run again'),
    });
    expect(versionOf()).toEqual([2]);
    const reader = await openStore(path, { readOnly: true });
    expect(reader.attacks({ stage: 'gflownet' })).toHaveLength(attacks);
    reader.close();
  });
});
