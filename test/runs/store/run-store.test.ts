import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import Database from 'libsql';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FloodgateError } from '../../../src/base/errors.ts';
import { type AttackRow, attackRow } from '../../../src/runs/store/records.ts';
import { hasBegun, openStore, type RunStore } from '../../../src/runs/store/run-store.ts';
import { SCHEMA_VERSION } from '../../../src/runs/store/schema.ts';
import type { ResponseRecord } from '../../../src/trial/evidence.ts';
import { compileSource } from '../../support/compiled-source.ts';

/** The tables of schema 1, as a run of it left them. */
const SCHEMA_1 = `
  CREATE TABLE run_info (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE stage (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, status TEXT NOT NULL,
    updates_planned INTEGER NOT NULL, started_ms INTEGER NOT NULL, finished_ms INTEGER);
  CREATE TABLE attack (
    id INTEGER PRIMARY KEY, stage_id INTEGER NOT NULL REFERENCES stage(id), update_index INTEGER NOT NULL,
    position INTEGER NOT NULL, source TEXT NOT NULL, ids TEXT NOT NULL, text NOT NULL,
    log_pi REAL, log_p_ref REAL, log_reward REAL, mean_unsafe REAL, response_count INTEGER NOT NULL);
  CREATE TABLE response (
    id INTEGER PRIMARY KEY, attack_id INTEGER NOT NULL REFERENCES attack(id) ON DELETE CASCADE,
    position INTEGER NOT NULL, text NOT NULL, tokens INTEGER NOT NULL, truncated INTEGER NOT NULL);
  CREATE TABLE verdict (
    response_id INTEGER NOT NULL REFERENCES response(id) ON DELETE CASCADE,
    judge TEXT NOT NULL, masked INTEGER NOT NULL, unsafe REAL, reason TEXT,
    PRIMARY KEY (response_id, judge, masked)) WITHOUT ROWID;
  CREATE TABLE metric (
    stage_id INTEGER NOT NULL REFERENCES stage(id), update_index INTEGER NOT NULL, name TEXT NOT NULL,
    judge TEXT NOT NULL, value REAL, low REAL, high REAL, n INTEGER NOT NULL, method TEXT, confidence REAL,
    PRIMARY KEY (stage_id, update_index, name, judge)) WITHOUT ROWID;
  CREATE TABLE event (
    id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, stage_id INTEGER REFERENCES stage(id), update_index INTEGER,
    level TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL);
  CREATE TABLE cost (
    stage_id INTEGER NOT NULL REFERENCES stage(id), update_index INTEGER NOT NULL, target_calls INTEGER NOT NULL,
    judge_calls INTEGER NOT NULL, tokens INTEGER NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (stage_id, update_index)) WITHOUT ROWID;
  CREATE TABLE repeated_calls (
    id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, stage_id INTEGER NOT NULL REFERENCES stage(id),
    after_update INTEGER NOT NULL, attacks INTEGER NOT NULL, responses INTEGER NOT NULL, verdicts INTEGER NOT NULL,
    target_calls INTEGER NOT NULL, judge_calls INTEGER NOT NULL, tokens INTEGER NOT NULL, seconds REAL NOT NULL);
  PRAGMA application_id = ${0x46676174};
  PRAGMA user_version = 1;`;

let path: string;
let store: RunStore;

beforeEach(async () => {
  path = join(mkdtempSync(join(tmpdir(), 'floodgate-store-')), 'run.db');
  store = await openStore(path);
  store.beginStage('gflownet', 100);
});

afterEach(() => store.close());

const response = (text: string, unsafe: number | null = 0.5): ResponseRecord => ({
  text,
  tokens: 3,
  truncated: false,
  verdicts: [
    unsafe === null
      ? { judge: 'j', masked: false, unsafe, reason: 'not a number' }
      : { judge: 'j', masked: false, unsafe },
    { judge: 'j', masked: true, unsafe: 0.25 },
  ],
});

const attack = (changes: Partial<AttackRow> = {}): AttackRow => ({
  source: 'fresh',
  ids: [1, 2, 3],
  text: 'say it',
  logPi: -4.5,
  logPRef: -5.25,
  fluency: -2.625,
  logReward: -7,
  meanUnsafe: 0.5,
  responses: [response('no'), response('never', null)],
  ...changes,
});

const cost = { targetCalls: 2, judgeCalls: 4, tokens: 6, seconds: 0.5 };

describe('recordUpdate', () => {
  it('gives back exactly what was stored', () => {
    const stored = attack({ logReward: Number.NEGATIVE_INFINITY, logPi: null, cell: 'cats' });
    const [id] = store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [stored], cost });
    const [row] = store.attacks({ stage: 'gflownet' });
    const { responses, ...columns } = stored;
    expect(row).toEqual({ ...columns, id, stage: 'gflownet', update: 0, position: 0, responseCount: 2 });
    expect(store.responses(id as number)).toEqual(
      responses.map((each, position) => ({ ...each, position, id: expect.any(Number) })),
    );
    expect(store.cost('gflownet')).toEqual(cost);
  });

  it('keeps NUL in what a provider, a judge and an event say', () => {
    const refused = { text: '', tokens: 0, truncated: false, refused: 'a\0b', verdicts: [] };
    const unscored = { ...response('x'), verdicts: [{ judge: 'j', masked: false, unsafe: null, reason: 'c\0d' }] };
    store.recordUpdate({
      stage: 'gflownet',
      update: 0,
      attacks: [attack({ responses: [refused, unscored] })],
      events: [{ level: 'info', code: 'x', message: 'e\0f' }],
    });
    const [read, scored] = store.responses(store.attacks({ stage: 'gflownet' })[0]?.id as number);
    expect(read?.refused).toBe('a\0b');
    expect(scored?.verdicts[0]?.reason).toBe('c\0d');
    expect(store.events()[0]?.message).toBe('e\0f');
  });

  it('keeps why a response was refused, beside one that the target answered', () => {
    const refused: ResponseRecord = {
      text: '',
      tokens: 0,
      truncated: false,
      refused: 'content filter: "violence"',
      verdicts: [{ judge: 'j', masked: false, unsafe: 0 }],
    };
    const stored = attack({ responses: [response('no'), refused, response('')] });
    const [id] = store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [stored] });
    const read = store.responses(id as number);
    expect(read).toMatchObject(stored.responses);
    expect(read.map((each) => 'refused' in each)).toEqual([false, true, false]);
  });

  it('stores an attack as the row of what was measured of it: null is not 0', () => {
    const text = { source: 'control', text: 'hello' } as const;
    const cell = null;
    const bare = {
      cell,
      ...text,
      ids: [],
      logPi: null,
      logPRef: null,
      fluency: null,
      logReward: null,
      meanUnsafe: null,
    };
    expect(attackRow(text, [])).toEqual({ ...bare, responses: [] });
    const evidence = { responses: [response('no')], failure: 'the second one failed' };
    const score = { logS: -1, meanUnsafe: 0, responses: 1 };
    const whole = attackRow({ ...text, logPi: -1, logPRef: -2, fluency: -0.5, logReward: -3, score, evidence }, [7]);
    const measured = { cell, ids: [7], logPi: -1, logPRef: -2, fluency: -0.5, logReward: -3, meanUnsafe: 0 };
    expect(whole).toEqual({ ...text, ...measured, responses: evidence.responses });
    store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [attackRow(text, []), whole] });
    expect(store.attacks({ stage: 'gflownet' })).toMatchObject([bare, { ...text, ...measured, responseCount: 1 }]);
  });

  it('keeps every text whole: NUL, newlines, quotes, SQL, any script', () => {
    let update = 0;
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { minLength: 1, maxLength: 4 }), (texts) => {
        const hostile = [...texts, "'); DROP TABLE attack; --", 'a\0b\r\n"c",\t'];
        const ids = store.recordUpdate({
          stage: 'gflownet',
          update: update++,
          attacks: hostile.map((text) => attack({ text, responses: [response(text)] })),
        });
        const rows = store.attacks({ stage: 'gflownet' }).slice(-hostile.length);
        expect(rows.map(({ text }) => text)).toEqual(hostile);
        expect(ids.map((id) => store.responses(id)[0]?.text)).toEqual(hostile);
      }),
      { numRuns: 30 },
    );
  });

  it('stores nothing of an update that fails', () => {
    const bad = { stage: 'gflownet', update: 0, attacks: [attack(), attack({ logPi: Number.NaN })], cost };
    expect(() => store.recordUpdate(bad)).toThrow(/log_pi is NaN/);
    expect(store.attacks({ stage: 'gflownet' })).toEqual([]);
    expect(store.cost('gflownet').targetCalls).toBe(0);
  });

  it('adds up the cost of one update told in parts', () => {
    store.recordUpdate({ stage: 'gflownet', update: 3, cost });
    store.recordUpdate({ stage: 'gflownet', update: 3, cost });
    expect(store.cost('gflownet')).toEqual({ targetCalls: 4, judgeCalls: 8, tokens: 12, seconds: 1 });
  });

  it('refuses a stage that has not begun', () => {
    expect(() => store.recordUpdate({ stage: 'smoothing', update: 0 })).toThrow(/got stage smoothing/);
  });
});

describe('queries', () => {
  it('filters attacks by update, source and number', () => {
    for (let update = 0; update < 4; update++)
      store.recordUpdate({
        stage: 'gflownet',
        update,
        attacks: [attack({ text: `f${update}` }), attack({ text: `r${update}`, source: 'replay' })],
      });
    const texts = (filter: object) => store.attacks({ stage: 'gflownet', ...filter }).map(({ text }) => text);
    expect(texts({ fromUpdate: 1, toUpdate: 2 })).toEqual(['f1', 'r1', 'f2', 'r2']);
    expect(texts({ source: 'replay', limit: 2 })).toEqual(['r0', 'r1']);
    store.recordUpdate({ stage: 'gflownet', update: -1, attacks: [attack({ text: 'asked before' })] });
    expect(texts({ toUpdate: 0 })).toEqual(['f0', 'r0', 'asked before']); // by id, as they were written
    expect(texts({ fromUpdate: 0, toUpdate: 0 })).toEqual(['f0', 'r0']);
    expect(store.lastUpdate('gflownet')).toBe(3);
    expect(store.lastUpdate('sft')).toBe(-1);
  });

  it('collects distinct attacks by the means over the verdicts on all their responses', () => {
    const drew = (ids: number[], text: string, ...unsafe: (number | null)[]): AttackRow =>
      attack({ ids, text, meanUnsafe: 0.123, responses: unsafe.map((p) => response('x', p)) });
    store.recordUpdate({
      stage: 'gflownet',
      update: 0,
      attacks: [
        drew([7], 'lucky once', 1),
        drew([8], 'good', 0.9, null, 0.8),
        { ...drew([9], 'odd', 0.9), logPRef: -200 },
        drew([10], 'unscored', null),
      ],
    });
    store.recordUpdate({
      stage: 'gflownet',
      update: 1,
      attacks: [
        drew([7], 'lucky once', 0, 0.2, 0.4),
        attack({ ids: [8], text: 'good', source: 'replay', meanUnsafe: 0, responses: [] }), // kept its old score
      ],
    });
    const filter = { stage: 'gflownet', judge: 'j', unsafeFloor: 0.01 };
    expect(store.distinctAttacks({ ...filter, minUnsafe: 0.7, minLogPRef: -100 })).toEqual([
      {
        ids: [8],
        cell: null,
        text: 'good',
        meanUnsafe: expect.closeTo((0.9 + 0.8) / 2, 12),
        logS: expect.closeTo(-0.164252, 6), // (ln 0.9 + ln 0.8) / 2, not ln 0.85 = -0.162519
        logPRef: -5.25,
        fluency: -2.625,
        responses: 2,
        firstUpdate: 0,
      },
    ]);
    const all = store.distinctAttacks({ ...filter, minUnsafe: 0, minLogPRef: -1000 });
    expect(all.map(({ text }) => text)).toEqual(['lucky once', 'good', 'odd']);
    expect(all[0]?.meanUnsafe).toBeCloseTo(0.4, 12);
    expect(all[0]?.logS).toBeCloseTo(-1.782725, 6); // (ln 1 + ln 0.01 + ln 0.2 + ln 0.4) / 4
    expect(store.distinctAttacks({ ...filter, judge: 'another', minUnsafe: 0, minLogPRef: -1000 })).toEqual([]);
  });

  it('keeps metrics per judge, events, stages and facts', () => {
    const asr = { name: 'asr', value: 0.5, low: 0.4, high: 0.6, n: 64 };
    store.recordUpdate({
      stage: 'gflownet',
      update: 5,
      metrics: [
        { ...asr, judge: 'a' },
        { ...asr, judge: 'b', value: null },
        { ...asr, name: 'loss' },
      ],
      events: [{ level: 'warning', code: 'collapse', message: 'unique attacks fell' }],
    });
    store.recordEvent({ level: 'info', code: 'resumed', message: 'again' });
    store.endStage('gflownet', 'done');
    store.setInfo('status', 'done');
    expect(store.metrics('gflownet', 'asr').map(({ judge, value }) => [judge, value])).toEqual([
      ['a', 0.5],
      ['b', null],
    ]);
    expect(store.metrics('gflownet')).toHaveLength(3);
    expect(store.events().map(({ code, update }) => [code, update])).toEqual([
      ['collapse', 5],
      ['resumed', undefined],
    ]);
    expect(store.stages()).toMatchObject([{ name: 'gflownet', status: 'done', updatesPlanned: 100 }]);
    expect(store.info('status')).toBe('done');
    expect(store.info('nothing')).toBeUndefined();
  });

  it('adds a further judge, and replaces what it said before', () => {
    const [id] = store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [attack()] });
    const [first] = store.responses(id as number);
    for (const unsafe of [0.1, 0.9])
      store.recordVerdicts([{ responseId: first?.id as number, judge: 'second', masked: false, unsafe }]);
    const second = store.responses(id as number)[0]?.verdicts.filter(({ judge }) => judge === 'second');
    expect(second).toEqual([{ judge: 'second', masked: false, unsafe: 0.9 }]);
  });
});

describe('an update with two verdicts of one judge on one response', () => {
  it('is refused whole: one would take the place of the other', () => {
    const verdicts = [0.1, 0.9].map((unsafe) => ({ judge: 'j', masked: false, unsafe }));
    const doubled = attack({ responses: [{ ...response('x'), verdicts }] });
    expect(() => store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [doubled] })).toThrow(
      'write run database',
    );
    expect(store.attacks({ stage: 'gflownet' })).toEqual([]);
  });
});

describe('truncateAfter', () => {
  const update = (index: number) => ({
    stage: 'gflownet',
    update: index,
    attacks: [attack(), attack()],
    metrics: [{ name: 'loss', value: 1, low: null, high: null, n: 1 }],
    events: [{ level: 'info' as const, code: 'e', message: 'm' }],
    cost,
  });

  /** Every row but the clock's and the history of repeats. */
  const contents = () =>
    ['attack', 'response', 'verdict', 'metric', 'cost'].map((table) => {
      const db = new Database(path);
      const rows = db.prepare(`SELECT * FROM ${table}`).raw().all();
      db.close();
      return rows;
    });

  it('leaves the database as it was after that update, and remembers the cost', () => {
    store.beginStage('sft', 1);
    store.recordUpdate({ ...update(9), stage: 'sft' });
    for (let i = 0; i <= 2; i++) store.recordUpdate(update(i));
    const before = contents();
    for (let i = 3; i <= 5; i++) store.recordUpdate(update(i));
    const uninterrupted = contents();
    store.truncateAfter('gflownet', 2);
    expect(contents()).toEqual(before);
    expect(store.events().map((event) => event.update)).toEqual([9, 0, 1, 2]);
    expect(store.repeatedCalls()).toMatchObject([
      { stage: 'gflownet', afterUpdate: 2, attacks: 6, responses: 12, verdicts: 24, targetCalls: 6, judgeCalls: 12 },
    ]);
    for (let i = 3; i <= 5; i++) store.recordUpdate(update(i));
    expect(contents()).toEqual(uninterrupted); // the same ids too
  });

  it('remembers nothing when there was nothing', () => {
    store.recordUpdate(update(0));
    store.truncateAfter('gflownet', 0);
    expect(store.repeatedCalls()).toEqual([]);
    store.truncateAfter('gflownet', -1);
    expect(store.attacks({ stage: 'gflownet' })).toEqual([]);
  });
});

describe('openStore', () => {
  it('refuses a damaged file, a foreign database, a newer schema, a missing one, an unwritable place', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'floodgate-store-'));
    const at = (name: string) => join(folder, name);
    writeFileSync(at('garbage.db'), 'no database at all, '.repeat(400));
    await expect(openStore(at('garbage.db'))).rejects.toThrow(/not an SQLite database, or damaged/);
    const foreign = new Database(at('foreign.db'));
    foreign.exec('CREATE TABLE t (a)');
    foreign.close();
    await expect(openStore(at('foreign.db'))).rejects.toThrow(/another program/);
    (await openStore(at('newer.db'))).close();
    const newer = new Database(at('newer.db'));
    newer.exec(`PRAGMA user_version = ${SCHEMA_VERSION + 1}`);
    newer.close();
    await expect(openStore(at('newer.db'))).rejects.toThrow(/expected at most/);
    await expect(openStore(at('none.db'), { readOnly: true })).rejects.toThrow(/does not exist/);
    expect(existsSync(at('none.db'))).toBe(false);
    await expect(openStore(join(folder, 'no/folder/run.db'))).rejects.toThrow(/cannot be opened/);
  });

  it.each([false, true])(
    'reads a database of schema 1, brought to this schema: new columns are not measured (read-only %s)',
    async (readOnly) => {
      const old = join(mkdtempSync(join(tmpdir(), 'floodgate-store-')), 'old.db');
      const db = new Database(old);
      db.exec(SCHEMA_1);
      db.exec(`INSERT INTO stage VALUES (1, 'gflownet', 'done', 1, 0, 1);
        INSERT INTO attack VALUES (1, 1, 0, 0, 'fresh', '[7]', 'say it', -4, -5, -6, 0.5, 1);
        INSERT INTO response VALUES (1, 1, 0, 'no', 3, 0); INSERT INTO verdict VALUES (1, 'j', 0, 0.5, NULL);`);
      db.close();
      const opened = await openStore(old, { readOnly });
      const { responses: _responses, ...row } = attack({
        ids: [7],
        logPi: -4,
        logPRef: -5,
        logReward: -6,
        fluency: null,
      });
      expect(opened.attacks({ stage: 'gflownet' })).toMatchObject([{ ...row, responseCount: 1 }]);
      expect(opened.responses(1)).toEqual([
        {
          id: 1,
          position: 0,
          text: 'no',
          tokens: 3,
          truncated: false,
          verdicts: [{ judge: 'j', masked: false, unsafe: 0.5 }],
        },
      ]);
      const bounds = { stage: 'gflownet', judge: 'j', unsafeFloor: 0.01, minUnsafe: 0, minLogPRef: -100 };
      expect(opened.distinctAttacks(bounds)).toMatchObject([{ ids: [7], logPRef: -5, fluency: null }]);
      opened.close();
      const version = new Database(old);
      expect(version.prepare('PRAGMA user_version').raw().get()).toEqual([readOnly ? 1 : SCHEMA_VERSION]);
      version.close();
    },
  );

  it('keeps the cell of an attack, and tells one text in two cells apart', async () => {
    const told = (cell: string | null) => attack({ ids: [7], cell, logPRef: -5, fluency: -5 });
    store.recordUpdate({
      stage: 'gflownet',
      update: 0,
      attacks: [told('cats'), told('dogs'), told('cats'), told(null)],
    });
    expect(store.attacks({ stage: 'gflownet' }).map(({ cell }) => cell)).toEqual(['cats', 'dogs', 'cats', null]);
    const bounds = { stage: 'gflownet', judge: 'j', unsafeFloor: 0.01, minUnsafe: 0, minLogPRef: -100 };
    const distinct = store.distinctAttacks(bounds).map(({ cell, responses }) => [cell, responses]);
    expect(distinct).toEqual([
      ['cats', 2],
      ['dogs', 1],
      [null, 1],
    ]);
  });

  it.each([true, false])('reads a run of version 3, which has no cells; read-only: %s', async (readOnly) => {
    store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [attack({ ids: [7], logPRef: -5, fluency: -5 })] });
    store.close();
    const db = new Database(path);
    db.exec('ALTER TABLE attack DROP COLUMN cell; PRAGMA user_version = 3; PRAGMA wal_checkpoint(TRUNCATE)');
    db.close();
    const opened = await openStore(path, { readOnly });
    expect(opened.attacks({ stage: 'gflownet' })).toMatchObject([{ ids: [7], cell: null, fluency: -5 }]);
    const bounds = { stage: 'gflownet', judge: 'j', unsafeFloor: 0.01, minUnsafe: 0, minLogPRef: -100 };
    expect(opened.distinctAttacks(bounds)).toMatchObject([{ ids: [7], cell: null }]);
    opened.close();
    store = await openStore(path);
  });

  it('names both versions and the remedy for a newer schema, and leaves the file alone', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'floodgate-store-')), 'newer.db');
    (await openStore(file)).close();
    const newer = new Database(file);
    newer.exec(`PRAGMA user_version = ${SCHEMA_VERSION + 3}`);
    newer.close();
    await expect(openStore(file)).rejects.toMatchObject({
      code: 'store',
      message: expect.stringContaining(`got schema ${SCHEMA_VERSION + 3}, expected at most ${SCHEMA_VERSION}`),
      hint: 'open this run with the newer Floodgate that wrote it',
    });
    const after = new Database(file);
    expect(after.prepare('PRAGMA user_version').raw().get()).toEqual([SCHEMA_VERSION + 3]);
    after.close();
  });

  it('reads while another connection writes, and writes nothing when read-only', async () => {
    const reader = await openStore(path, { readOnly: true });
    store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [attack()] });
    expect(reader.attacks({ stage: 'gflownet' })).toHaveLength(1);
    expect(() => reader.setInfo('a', 'b')).toThrow(FloodgateError);
    reader.close();
    reader.close();
  });
});

/** Every file of a folder: its name, bytes and time of change. */
const filesOf = (folder: string) =>
  readdirSync(folder).map((name) => {
    const file = join(folder, name);
    return [name, readFileSync(file).toString('base64'), statSync(file).mtimeMs];
  });

describe('opened read-only', () => {
  const compiled = compileSource();
  afterAll(() => compiled.remove());

  it('leaves a database as it was, to the time of its file', async () => {
    store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [attack()] });
    store.close();
    const contentOf = () => filesOf(dirname(path)).filter(([name]) => name === 'run.db');
    const before = contentOf();
    const reader = await openStore(path, { readOnly: true });
    expect(reader.attacks({ stage: 'gflownet' })).toHaveLength(1);
    expect(() => reader.recordUpdate({ stage: 'gflownet', update: 1 })).toThrow(/read-only/);
    reader.close();
    expect(contentOf()).toEqual(before);
  });

  it('leaves the log of a killed run beside its database', async () => {
    store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [attack()] });
    const folder = mkdtempSync(join(tmpdir(), 'floodgate-store-'));
    for (const name of ['run.db', 'run.db-wal', 'run.db-shm']) cpSync(`${path}${name.slice(6)}`, join(folder, name));
    const bytesOf = () => ['run.db', 'run.db-wal'].map((name) => readFileSync(join(folder, name)));
    const before = bytesOf();
    const reader = await openStore(join(folder, 'run.db'), { readOnly: true });
    expect(reader.attacks({ stage: 'gflownet' })).toHaveLength(1);
    reader.close();
    expect(bytesOf()).toEqual(before);
  });

  it('reads where nothing can be written, whatever the names of the folders, and a schema of an earlier version', () => {
    const folder = mkdtempSync(join(tmpdir(), 'floodgate-store-'));
    const place = join(folder, 'a ?b#c%20d');
    mkdirSync(place);
    store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [attack()] });
    const unfinished = join(folder, 'killed.db');
    for (const ending of ['', '-wal', '-shm']) cpSync(`${path}${ending}`, `${unfinished}${ending}`);
    store.close();
    cpSync(path, join(place, 'run.db'));
    const killed = (ending: string) => join(place, `killed.db${ending}`);
    for (const ending of ['', '-wal', '-shm']) cpSync(`${unfinished}${ending}`, killed(ending));
    const old = new Database(join(place, 'old.db'));
    old.exec(`${SCHEMA_1}; INSERT INTO stage VALUES (1, 'gflownet', 'done', 1, 0, 1);`);
    old.close();
    const script = join(compiled.folder, 'reader.mjs');
    writeFileSync(
      script,
      `import { openStore } from './runs/store/run-store.js';
       for (const path of process.argv.slice(2)) {
         const store = await openStore(path, { readOnly: true });
         console.log(store.stages().length, store.attacks({ stage: 'gflownet' }).length);
         store.close();
       }`,
    );
    for (const each of [folder, dirname(compiled.folder), compiled.folder]) chmodSync(each, 0o755);
    for (const name of readdirSync(place)) chmodSync(join(place, name), 0o444);
    chmodSync(place, 0o555);
    const before = filesOf(place);
    const nobody = process.getuid?.() === 0 ? { uid: 65_534 } : {}; // permissions do not bind root
    const files = ['run.db', 'old.db', 'killed.db'].map((name) => join(place, name));
    const { stdout, stderr } = spawnSync(process.execPath, [script, ...files], { encoding: 'utf8', ...nobody });
    expect([stdout, stderr]).toEqual(['1 1\n1 0\n1 1\n', '']);
    expect(filesOf(place)).toEqual(before);
    chmodSync(place, 0o755);
  });
});

describe('a kill at any moment', () => {
  const compiled = compileSource();
  afterAll(() => compiled.remove());

  it('leaves whole updates only', async () => {
    store.close();
    const script = join(compiled.folder, 'writer.mjs');
    writeFileSync(
      script,
      `import { openStore } from './runs/store/run-store.js';
       const store = await openStore(process.argv[2]);
       store.beginStage('gflownet', 1000);
       const attack = ${JSON.stringify(attack())};
       for (let update = 0; ; update++) {
         store.recordUpdate({ stage: 'gflownet', update, attacks: Array(50).fill(attack), cost: ${JSON.stringify(cost)} });
         process.stdout.write(update + '\\n');
       }`,
    );
    const child = spawn(process.execPath, [script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    let told = -1;
    const ended = new Promise((resolve) => child.on('close', resolve));
    for await (const chunk of child.stdout) {
      told = Number(String(chunk).trim().split('\n').at(-1));
      if (told >= 20 && !child.killed) child.kill('SIGKILL');
    }
    await ended;
    store = await openStore(path);
    const last = store.lastUpdate('gflownet');
    expect(last).toBeGreaterThanOrEqual(told);
    expect(store.attacks({ stage: 'gflownet' })).toHaveLength(50 * (last + 1));
    expect(store.cost('gflownet').targetCalls).toBe(2 * (last + 1));
  });
});

describe('bestAttacks', () => {
  const tried = (text: string, meanUnsafe: number | null, changes: Partial<AttackRow> = {}): AttackRow =>
    attack({ text, meanUnsafe, responses: [response('no')], ...changes });

  it('gives each text once, by its first scored row; equals in their order, unscored ones last', () => {
    const attacks = [
      tried('never asked', 1, { responses: [] }),
      tried('unscored', null),
      tried('equal, first', 0.5),
      tried('equal, second', 0.5),
      tried('scored later', null),
      tried('again', 0.3),
      tried('again', 0.9),
      tried('scored later', 0.8),
      tried('with a\0NUL', 0.4),
    ];
    store.recordUpdate({ stage: 'gflownet', update: 0, attacks });
    store.beginStage('other', 1);
    store.recordUpdate({ stage: 'other', update: 0, attacks: [tried('of another stage', 1)] });
    const best = store.bestAttacks('gflownet', 10);
    expect(best.map(({ text, meanUnsafe }) => [text, meanUnsafe])).toEqual([
      ['scored later', 0.8],
      ['equal, first', 0.5],
      ['equal, second', 0.5],
      ['with a\0NUL', 0.4],
      ['again', 0.3],
      ['unscored', null],
    ]);
    expect(store.bestAttacks('gflownet', 0)).toEqual([]);
    expect(store.responses(best[0]?.id as number)).toHaveLength(1);
  });
});

describe('a database that a killed process has only begun', () => {
  it('is told from one that a run has written, and from a damaged one', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'floodgate-begun-'));
    const at = (name: string): string => join(folder, name);
    writeFileSync(at('empty.db'), '');
    const bare = new Database(at('bare.db'));
    bare.exec('PRAGMA journal_mode = WAL'); // a header page, no table
    bare.close();
    writeFileSync(at('damaged.db'), 'no database at all, but some bytes');
    (await openStore(at('run.db'))).close();
    const begun = ['missing.db', 'empty.db', 'bare.db', 'damaged.db', 'run.db'].filter((name) => hasBegun(at(name)));
    expect(begun).toEqual(['damaged.db', 'run.db']);
  });
});
