import { existsSync, readFileSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256Of } from '../../src/base/canonical-json.ts';
import { readLabels, systemUser } from '../../src/runs/store/label-store.ts';
import { answerKey, attackKey } from '../../src/runs/store/labels.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { causeSha256 } from '../../src/stages/evaluation/causes-record.ts';
import { FIXTURE_CAUSES } from '../report/fixture-run.ts';
import { makeRun, type StartedView, startView } from './viewed.ts';

let started: StartedView;
beforeAll(async () => {
  started = await startView(async (parent) => {
    await makeRun(parent, 'first', { causes: FIXTURE_CAUSES });
    await makeRun(parent, 'live', { status: 'running' });
  });
});
afterAll(() => started.close());

const databaseOf = (run: string) => join(started.parent, run, 'run.db');
const labelsOf = (run = 'first') => readLabels(join(started.parent, run, 'labels.db'));
const ATTACK = 21; // the first attack of the last evaluation
const TEXT = 'kind0 please say hidden phrase 0';
const ANSWER = answerKey(TEXT, 'reply one of 0');
const verdict = { kind: 'verdict', attack: ATTACK, response: 0, subject: ANSWER, value: 'safe' };

async function post(label: unknown, more: { path?: string; headers?: Record<string, string> } = {}) {
  const { path = '/api/runs/first/labels', headers = {} } = more;
  const body = typeof label === 'string' ? label : JSON.stringify(label);
  const own = { cookie: started.cookie, origin: started.base, 'content-type': 'application/json' };
  const { status, text } = await started.send({ method: 'POST', path, headers: { ...own, ...headers }, body });
  return { status, json: text === '' ? undefined : JSON.parse(text) };
}

interface Listed {
  readonly labels: readonly {
    readonly id: number;
    readonly kind: string;
    readonly value: string | null;
    readonly judge: readonly string[] | null;
    readonly attack: number | null;
    readonly isThere: boolean;
    readonly holds: boolean;
    readonly who: readonly string[];
  }[];
  readonly next: number | null;
  readonly holding: number;
  readonly rows: number;
}

interface Answer {
  readonly subject: string;
  readonly label: { value: string; who: string[]; at: string } | null;
  readonly verdicts: {
    judge: string;
    masked: boolean;
    unsafe: number;
    isWrong: boolean | null;
    says?: string;
    label?: { value: string } | null;
  }[];
}
interface Attack {
  readonly responses: Answer[];
  readonly labels: { subject: string; duplicate: { original: number } | null; wording: { name: string[] } | null };
  readonly way: { subject: string; label: { name: string[] } | null; cause: { parts?: string[] } } | null;
}
const attack = (id = ATTACK, query = '') => started.get<Attack>(`/api/runs/first/attacks/${id}${query}`);

describe('a label that the page sends', () => {
  it('is stored beside the run, whose database stays the same to the last byte', async () => {
    const digest = () => sha256Of(readFileSync(databaseOf('first')));
    const before = digest();
    expect((await attack()).responses[0]).toMatchObject({ subject: ANSWER, label: null });
    const { status, json } = await post({ ...verdict, note: ' a joke ' });
    expect([status, json.label.value]).toEqual([201, 'safe']);
    expect(labelsOf().find('verdict', ANSWER)).toMatchObject({ who: systemUser(), note: 'a joke', attack: ATTACK });
    const [first, second] = (await attack()).responses;
    expect(first?.label).toMatchObject({ value: 'safe', who: [systemUser()] });
    expect(second?.label).toBeNull();
    // Both judges called it unsafe; masked verdicts are not about this text.
    expect(first?.verdicts.map(({ masked, isWrong }) => [masked, isWrong])).toEqual([
      [false, true],
      [true, null],
      [false, true],
      [true, null],
    ]);
    expect(digest()).toBe(before);
    await post({ ...verdict, value: null });
    expect((await attack()).responses[0]?.label).toBeNull();
    expect(labelsOf().history).toHaveLength(2);
  });

  it('says that an attack is a duplicate, and names its wording and its way', async () => {
    const subject = attackKey(TEXT);
    await post({ kind: 'duplicate', attack: ATTACK, subject, value: ATTACK + 5 });
    await post({ kind: 'wording', attack: ATTACK, subject, value: 'echo \u202e of words' });
    const { way } = await attack();
    expect(way?.subject).toBe(causeSha256(TEXT));
    expect((await post({ kind: 'way', subject: way?.subject, value: 'repeats itself' })).status).toBe(201);
    const now = await attack();
    expect(now.labels.duplicate?.original).toBe(ATTACK + 5);
    expect(now.labels.wording?.name).toEqual(['echo ', '\\u{202e}', ' of words']);
    expect(now.way?.label?.name).toEqual(['repeats itself']);
    expect(now.way?.cause.parts).toBeUndefined();
    expect((await attack(ATTACK, '?show=1')).way?.cause.parts).toEqual([TEXT]);
    const page = await started.get<{ attacks: (Attack & { id: number })[] }>(
      '/api/runs/first/attacks?before=22&limit=1',
    );
    expect(page.attacks[0]).toMatchObject({ id: ATTACK, labels: { subject, duplicate: { original: ATTACK + 5 } } });
    const { labels } = await started.get<{ labels: { kind: string }[] }>('/api/runs/first/labels');
    expect(labels.map(({ kind }) => kind)).toEqual(['way', 'wording', 'duplicate']);
  });

  it('is of one judge alone where it names one, and leaves what others said', async () => {
    const [said] = (await attack()).responses[0]?.verdicts ?? [];
    expect(said).toMatchObject({ judge: 'other', says: 'unsafe', label: null });
    expect((await post({ ...verdict, judge: 'other' })).status).toBe(201);
    const { responses } = await attack();
    expect(responses[0]?.label).toBeNull();
    expect(responses[0]?.verdicts.map(({ judge, isWrong, label }) => [judge, isWrong, label?.value])).toEqual([
      ['other', true, 'safe'],
      ['other', null, undefined],
      ['trainer', null, undefined],
      ['trainer', null, undefined],
    ]);
    expect(labelsOf().find('verdict', ANSWER, 'trainer')).toBeUndefined();
    expect((await post({ ...verdict, judge: 'nobody' })).json.error.message).toContain('got judge nobody');
    await post({ ...verdict, judge: 'other', value: null });
    expect((await attack()).responses[0]?.verdicts[0]).toMatchObject({ isWrong: null, label: null });
    // A label for all judges is none of one of them.
    await post(verdict);
    expect((await attack()).responses[0]?.verdicts[0]).toMatchObject({ isWrong: true, label: null });
    await post({ ...verdict, value: null });
  });

  it('holds while the run trains, which is not disturbed', async () => {
    const store = await openStore(databaseOf('live'));
    store.beginStage('ppo', 5);
    const { status } = await post(verdict, { path: '/api/runs/live/labels' });
    expect(status).toBe(201);
    store.recordUpdate({ stage: 'ppo', update: 0, metrics: [] });
    store.close();
    expect(labelsOf('live').all).toHaveLength(1);
  });
});

describe('the list of labels', () => {
  const list = (query = '') => started.get<Listed>(`/api/runs/listed/labels?${query}`);
  const take = (label: unknown) => post(label, { path: '/api/runs/listed/labels' });

  it('has all that hold, the newest first and in pages, and who took what back', async () => {
    await makeRun(started.parent, 'listed');
    expect(await list()).toEqual({ labels: [], next: null, holding: 0, rows: 0 });
    for (const value of ['safe', 'unsafe']) await take({ ...verdict, value });
    await take({ ...verdict, judge: 'trainer' });
    await take({ kind: 'wording', attack: ATTACK, subject: attackKey(TEXT), value: 'a name' });
    const all = await list();
    expect(all).toMatchObject({ holding: 3, rows: 4, next: null });
    expect(all.labels.map(({ id, value, judge }) => [id, value, judge])).toEqual([
      [4, 'a name', null],
      [3, 'safe', ['trainer']],
      [2, 'unsafe', null],
    ]);
    expect(all.labels.every((each) => each.holds && each.isThere && each.attack === ATTACK)).toBe(true);
    expect(all.labels[0]?.who).toEqual([systemUser()]);
    const first = await list('limit=2');
    expect([first.labels.map(({ id }) => id), first.next]).toEqual([[4, 3], 3]);
    expect(await list('limit=2&before=3')).toMatchObject({ labels: [{ id: 2 }], next: null });
    expect((await list('all=1')).labels.map(({ id, holds }) => [id, holds])).toEqual([
      [4, true],
      [3, true],
      [2, true],
      [1, false],
    ]);
    const { status, json } = await take({ withdraw: 3 });
    expect([status, json.label.value]).toEqual([201, null]);
    expect((await list()).labels.map(({ id }) => id)).toEqual([4, 2]);
    expect((await take({ withdraw: 3 })).json.error.message).toContain('no label with the number 3 holds');
    expect(await list('all=1&limit=1')).toMatchObject({ labels: [{ id: 5, value: null }], rows: 5 });
  });

  it('says where another text is now, and such a label can be taken back', async () => {
    // Older than a file system's clock can tell apart, so that the order of the sample is kept until the run changes.
    utimesSync(databaseOf('listed'), 1_000_000, 1_000_000);
    const sampled = async () => (await started.get<{ answers: number }>('/api/runs/listed/sample')).answers;
    expect([await sampled(), await sampled()]).toEqual([130, 130]);
    const store = await openStore(databaseOf('listed'));
    store.truncateAfter('evaluate:gflownet', -1);
    store.close();
    expect(await sampled()).toBe(40);
    const { labels } = await list();
    expect(labels.map(({ isThere }) => isThere)).toEqual([false, false]);
    expect((await take({ ...verdict, value: null })).status).toBe(400);
    expect((await take({ withdraw: 2 })).status).toBe(201);
    expect((await list()).labels.map(({ id }) => id)).toEqual([4]);
  });

  it.each(['before=x', 'limit=201', 'all=2', 'x=1', 'limit=1&limit=2'])('refuses %s', async (query) => {
    const path = `/api/runs/first/labels?${query}`;
    expect((await started.send({ path, headers: { cookie: started.cookie } })).status).toBe(400);
  });
});

describe('a label is refused', () => {
  it.each<[string, unknown, number, string]>([
    ['without JSON', 'kind=verdict', 400, 'invalid_json'],
    ['with a field too many', { ...verdict, who: 'somebody else' }, 400, 'bad_label'],
    ['of an unknown kind', { ...verdict, kind: 'opinion' }, 400, 'bad_label'],
    ['with a value that is none', { ...verdict, value: 'maybe' }, 400, 'bad_label'],
    ['with a number that is a text', { ...verdict, attack: '21' }, 400, 'bad_label'],
    ['without its subject', { ...verdict, subject: undefined }, 400, 'bad_label'],
    ['that takes back a number that is none', { withdraw: '3' }, 400, 'bad_label'],
    ['that takes back what does not hold', { withdraw: 999 }, 400, 'bad_label'],
    ['of an attack that is not there', { ...verdict, attack: 999 }, 400, 'bad_label'],
    ['of an answer that is not there', { ...verdict, response: 2 }, 400, 'bad_label'],
    ['of another text than the reader saw', { ...verdict, response: 1 }, 409, 'changed'],
    ['of a way that is not there', { kind: 'way', subject: ANSWER, value: 'x' }, 404, 'unknown_way'],
    [
      'that makes an attack its own duplicate',
      { kind: 'duplicate', attack: ATTACK, subject: attackKey(TEXT), value: ATTACK },
      400,
      'bad_label',
    ],
    [
      'with a name that is too long',
      { kind: 'wording', attack: ATTACK, subject: attackKey(TEXT), value: 'x'.repeat(201) },
      400,
      'bad_label',
    ],
    ['that is too large', { ...verdict, note: 'x'.repeat(17_000) }, 413, 'request_too_large'],
  ])('%s', async (_, label, status, code) => {
    const before = labelsOf().history.length;
    const answer = await post(label);
    expect([answer.status, answer.json.error.code]).toEqual([status, code]);
    expect(labelsOf().history).toHaveLength(before);
  });

  it('without the cookie, and from another site or host', async () => {
    const before = labelsOf().history.length;
    for (const [headers, status] of [
      [{ cookie: '' }, 401],
      [{ origin: '' }, 403],
      [{ origin: 'https://evil.example' }, 403],
      [{ origin: `http://127.0.0.1:${started.view.port + 1}` }, 403],
      [{ 'sec-fetch-site': 'cross-site' }, 403],
      [{ host: `evil.example:${started.view.port}`, origin: `http://evil.example:${started.view.port}` }, 403],
    ] as const)
      expect([headers, (await post(verdict, { headers })).status]).toEqual([headers, status]);
    expect(labelsOf().history).toHaveLength(before);
  });

  it('at every other address, and by every other method', async () => {
    const own = { cookie: started.cookie, origin: started.base };
    for (const path of ['/api/runs/first', '/api/runs/first/sample', '/api/runs/first/labels/1', '/api/labels'])
      expect((await post(verdict, { path })).status).toBe(405);
    for (const method of ['PUT', 'DELETE'])
      expect((await started.send({ method, path: '/api/runs/first/labels', headers: own })).status).toBe(405);
    for (const path of [
      '/api/runs/nothing/labels',
      '/api/runs/../labels',
      '/api/runs/%2e%2e/labels',
      '/api/runs/__proto__/labels',
    ])
      expect((await post(verdict, { path })).status).toBe(404);
    expect(existsSync(join(started.parent, 'labels.db'))).toBe(false);
  });
});

it('a random sample goes on with the next answer that has no label', async () => {
  interface Sample {
    readonly next: { attack: number; response: number };
    readonly answers: number;
    readonly inSample: number;
  }
  const sample = () => started.get<Sample>('/api/runs/first/sample');
  const first = await sample();
  expect(first).toMatchObject({ answers: 2 * (20 + 45), inSample: 0 });
  const { attack: id, response } = first.next;
  const { subject } = (await attack(id)).responses[response] as Answer;
  expect((await post({ kind: 'verdict', attack: id, response, subject, value: 'unsafe' })).status).toBe(201);
  const second = await sample();
  // The text may be in the other evaluation too: its label holds there.
  expect(second.inSample).toBeGreaterThanOrEqual(1);
  expect(second.next).not.toEqual(first.next);
});
