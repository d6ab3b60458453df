import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import Database from 'libsql';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FloodgateError } from '../../../src/base/errors.ts';
import type { AttackRecord, ResponseRecord } from '../../../src/runs/store/records.ts';
import { openStore, type RunStore } from '../../../src/runs/store/run-store.ts';
import { SCHEMA_VERSION } from '../../../src/runs/store/schema.ts';
import { compileSource } from '../../support/compiled-source.ts';

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

const attack = (changes: Partial<AttackRecord> = {}): AttackRecord => ({
  source: 'fresh',
  ids: [1, 2, 3],
  text: 'say it',
  logPi: -4.5,
  logPRef: -5.25,
  logReward: -7,
  meanUnsafe: 0.5,
  responses: [response('no'), response('never', null)],
  ...changes,
});

const cost = { targetCalls: 2, judgeCalls: 4, tokens: 6, seconds: 0.5 };

describe('recordUpdate', () => {
  it('gives back exactly what was stored', () => {
    const stored = attack({ logReward: Number.NEGATIVE_INFINITY, logPi: null });
    const [id] = store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [stored], cost });
    const [row] = store.attacks({ stage: 'gflownet' });
    const { responses, ...columns } = stored;
    expect(row).toEqual({ ...columns, id, stage: 'gflownet', update: 0, position: 0, responseCount: 2 });
    expect(store.responses(id as number)).toEqual(
      responses.map((each, position) => ({ ...each, position, id: expect.any(Number) })),
    );
    expect(store.cost('gflownet')).toEqual(cost);
  });

  it('keeps every text whole: NUL, newlines, quotes, SQL, any script', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { minLength: 1, maxLength: 4 }), (texts) => {
        const hostile = [...texts, "'); DROP TABLE attack; --", 'a\0b\r\n"c",\t'];
        const ids = store.recordUpdate({
          stage: 'gflownet',
          update: 0,
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
    expect(store.lastUpdate('gflownet')).toBe(3);
    expect(store.lastUpdate('sft')).toBe(-1);
  });

  it('collects distinct attacks by the means over the verdicts on all their responses', () => {
    const drew = (ids: number[], text: string, ...unsafe: (number | null)[]): AttackRecord =>
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
        text: 'good',
        meanUnsafe: expect.closeTo((0.9 + 0.8) / 2, 12),
        logS: expect.closeTo(-0.164252, 6), // (ln 0.9 + ln 0.8) / 2, not ln 0.85 = -0.162519
        logPRef: -5.25,
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
    await expect(openStore(at('garbage.db'))).rejects.toThrow(/no SQLite database, or damaged/);
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

  it('reads while another connection writes, and writes nothing when read-only', async () => {
    const reader = await openStore(path, { readOnly: true });
    store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [attack()] });
    expect(reader.attacks({ stage: 'gflownet' })).toHaveLength(1);
    expect(() => reader.setInfo('a', 'b')).toThrow(FloodgateError);
    reader.close();
    reader.close();
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
      `import { openStore } from './store/run-store.js';
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
