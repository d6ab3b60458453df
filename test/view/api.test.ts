import { linkSync, mkdirSync, readdirSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { acquireLock } from '../../src/base/lock.ts';
import { recordRunStatus } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { openViewedRuns } from '../../src/view/viewed-runs.ts';
import { cli } from '../cli/cli-runner.ts';
import { fixtureAttacks } from '../report/fixture-run.ts';
import { CELLS, HOSTILE, makeCellRun, makeRun, type StartedView, startView } from './viewed.ts';

let started: StartedView;
beforeAll(async () => {
  started = await startView(async (parent) => {
    await makeRun(parent, 'first');
    await makeRun(parent, 'killed', { status: 'running' });
  });
});
afterAll(() => started.close());

interface Row {
  readonly id: number;
  readonly stage: string;
  readonly meanUnsafe: number | null;
  readonly text: { readonly characters: number; readonly parts?: string[] };
}
interface Page {
  readonly attacks: Row[];
  readonly next: number | null;
  readonly isFull: boolean;
}

const attacks = (query = '') => started.get<Page>(`/api/runs/first/attacks?${query}`);
const STAGE = 'evaluate:gflownet';
const COUNT = 20 + 40 + HOSTILE.length;

interface Listed {
  readonly name: string;
  readonly status: string;
  readonly stages: readonly string[];
  readonly attacker: string | null;
}

/** All pages of a query. */
async function allPages(query: string): Promise<Row[]> {
  const rows: Row[] = [];
  for (let before = ''; ; ) {
    const page = await attacks(`${query}&before=${before}`);
    rows.push(...page.attacks);
    if (page.next === null) return rows;
    before = String(page.next);
  }
}

describe('runs', () => {
  it('are those of floodgate list, with its status; one that was killed says so', async () => {
    const { runs } = await started.get<{ runs: Listed[] }>('/api/runs');
    const listed = JSON.parse((await cli(['list', '--json', '--runs-dir', started.parent])).stdout) as {
      runs: Listed[];
    };
    const plain = (list: readonly Listed[]) =>
      list.map(({ name, status, stages, attacker }) => ({ name, status, stages, attacker }));
    expect(plain(runs)).toEqual(plain(listed.runs));
    expect(runs.map(({ status }) => status)).toEqual(['done', 'interrupted']);
  });

  it('show a run that begins later, and one that cannot be read', async () => {
    const late = join(started.parent, 'late');
    await makeRun(started.parent, 'late');
    expect((await started.get<{ name: string }>('/api/runs/late')).name).toBe('late');
    writeFileSync(join(late, 'run.db'), 'no database');
    const { runs } = await started.get<{ runs: { key: string; status: string }[] }>('/api/runs');
    expect(runs.find(({ key }) => key === 'late')?.status).toBe('unreadable');
    rmSync(late, { recursive: true });
  });

  it('of one name in two folders get two keys', async () => {
    const other = join(started.parent, '.elsewhere');
    mkdirSync(other);
    const again = await makeRun(other, 'first');
    const runs = await openViewedRuns([join(started.parent, 'first'), again], started.parent);
    expect([...(await runs.list()).keys()]).toEqual(['first', 'first~2']);
    expect((await runs.find('first~2')).path).toBe(again);
    await expect(runs.find('killed')).rejects.toMatchObject({ status: 404 });
  });

  it('have the figures of their report, the progress of their stages, and no text of a model', async () => {
    const { text } = await started.send({ path: '/api/runs/first', headers: { cookie: started.cookie } });
    const { stages, progress, judges } = JSON.parse(text) as {
      stages: { name: string; figures: { metric: string; text: string; interval: string; n: number }[] }[];
      progress: { name: string; updates: number; updatesPlanned: number }[];
      judges: string[];
    };
    const asr = stages.find(({ name }) => name === 'gflownet')?.figures.find(({ metric }) => metric === 'asr');
    expect(asr).toMatchObject({ text: '64%', interval: '50–77%', n: 45 });
    const shown = stages.map(({ figures }) => figures.map(({ metric }) => metric));
    expect(shown[1]).toEqual(expect.arrayContaining(['asr', 'uniqueAttacks', 'echoRate']));
    expect(shown.flat()).not.toContain('loss');
    expect(progress.find(({ name }) => name === 'gflownet')).toMatchObject({ updates: 30, updatesPlanned: 30 });
    expect(judges).toEqual(['trainer', 'other']);
    expect(text).not.toMatch(/hidden phrase|reply one/);
  });

  it('are read again once they have changed, and say so when their process is killed', async () => {
    const folder = await makeRun(started.parent, 'resting');
    const statusOf = async () => {
      const [own, { runs }] = await Promise.all([
        started.get<Listed>('/api/runs/resting'),
        started.get<{ runs: Listed[] }>('/api/runs'),
      ]);
      return [own.status, runs.find(({ name }) => name === 'resting')?.status];
    };
    // Older than a file system's clock can tell apart, so that the answers are kept.
    const rest = () => {
      for (const file of readdirSync(folder)) utimesSync(join(folder, file), 1_000_000, 1_000_000);
    };
    rest();
    expect(await statusOf()).toEqual(['done', 'done']);
    const store = await openStore(join(folder, 'run.db'));
    recordRunStatus(store, 'running');
    store.close();
    const lock = await acquireLock(join(folder, 'lock'));
    rest();
    expect(await statusOf()).toEqual(['running', 'running']);
    // As a kill leaves it: every file stays the same, and the kernel's lock is free.
    linkSync(join(folder, 'lock'), join(folder, 'lock.kept'));
    await lock.release();
    renameSync(join(folder, 'lock.kept'), join(folder, 'lock'));
    expect(await statusOf()).toEqual(['interrupted', 'interrupted']);
    rmSync(folder, { recursive: true });
  });

  it('have the curves of their training, each with words', async () => {
    const { stages } = await started.get<{
      stages: {
        name: string;
        charts: { metric: string; isMain: boolean; chart: { spoken: string; paths: object[] } }[];
      }[];
    }>('/api/runs/first/curves');
    const loss = stages.find(({ name }) => name === 'gflownet')?.charts[0];
    expect(loss).toMatchObject({ metric: 'loss', isMain: true });
    expect(loss?.chart.spoken).toMatch(/^[\w ]+: from 5 at update 0 to 0\.\d+ at update 29;/);
    expect(loss?.chart.paths).toHaveLength(2);
  });
});

describe('attacks', () => {
  it('come in pages, the newest first, each once', async () => {
    const rows = await allPages('limit=7');
    expect(rows).toHaveLength(COUNT);
    expect(rows.map(({ id }) => id)).toEqual(Array.from({ length: COUNT }, (_, i) => COUNT - i));
    expect((await attacks('limit=7')).isFull).toBe(true);
    expect(await attacks('before=1')).toEqual({ attacks: [], next: null, isFull: true });
  });

  it('can be those of one stage, source or outcome, by any judge', async () => {
    expect(await allPages(`stage=${STAGE}&limit=9`)).toHaveLength(40 + HOSTILE.length);
    expect(await allPages('stage=nothing')).toEqual([]);
    expect(await allPages('source=fresh')).toEqual([]);
    expect(await allPages('source=evaluation')).toHaveLength(COUNT);
    const successes = 12 + 24 + HOSTILE.length;
    expect(await allPages('outcome=success&limit=5')).toHaveLength(successes);
    expect(await allPages('outcome=failure')).toHaveLength(COUNT - successes);
    expect(await allPages('outcome=unscored')).toEqual([]);
    const byOther = await allPages('outcome=success&judge=other&limit=11');
    expect(byOther).toHaveLength(successes);
    expect(byOther.every(({ meanUnsafe }) => meanUnsafe === 0.9)).toBe(true);
    expect(await allPages('judge=nobody&outcome=unscored')).toHaveLength(COUNT);
  });

  it('are found by a part of their text, in either case, and no letter is a pattern', async () => {
    const expected = fixtureAttacks().filter(({ text }) => text.includes('kind3')).length + 4;
    expect(await allPages('search=KIND3&limit=3')).toHaveLength(expected);
    expect(await allPages(`search=${encodeURIComponent('100% _under_ \\ b')}`)).toHaveLength(1);
    expect(await allPages('search=%25')).toHaveLength(1);
    expect(await allPages('search=kind_')).toEqual([]);
    expect(await allPages(`search=${encodeURIComponent("' OR 1=1 --")}`)).toEqual([]);
  });

  it('leave without their texts unless the request asks for them', async () => {
    const path = '/api/runs/first/attacks';
    const { text } = await started.send({ path, headers: { cookie: started.cookie } });
    expect(text).not.toMatch(/kind\d|onerror|please/);
    const [row] = (await attacks('limit=1&show=1')).attacks;
    expect(row?.text.parts).toEqual([HOSTILE.at(-1)?.text]);
    // Nothing remembers the choice.
    expect((await attacks('limit=1')).attacks[0]?.text.parts).toBeUndefined();
  });

  it('have their answers with every verdict, masked the same way', async () => {
    const { attacks: rows } = await attacks('limit=1');
    const path = `/api/runs/first/attacks/${rows[0]?.id}`;
    const hidden = await started.send({ path, headers: { cookie: started.cookie } });
    expect(hidden.text).not.toMatch(/under|constructor/);
    const shown = await started.get<{ responses: { text: { parts: string[] }; verdicts: object[] }[] }>(
      `${path}?show=1`,
    );
    expect(shown.responses.map(({ text }) => text.parts.join(''))).toEqual(HOSTILE.at(-1)?.responses);
    expect(shown.responses[0]?.verdicts).toHaveLength(4);
  });

  it('show characters that hide or reorder text as escapes, apart from the text', async () => {
    const { attacks: rows } = await attacks('search=gnitirw&show=1');
    const parts = rows[0]?.text.parts ?? [];
    expect(parts.length).toBeGreaterThan(5);
    expect(parts.filter((_, i) => i % 2 === 0).join('')).toBe('gnitirw desrever and a NUL');
  });
});

describe('cells', () => {
  beforeAll(() => makeCellRun(started.parent, 'cells'));

  interface CellOverview {
    readonly cells: readonly string[];
    readonly stages: readonly { readonly cells: readonly object[] }[];
  }
  const of = async (query: string) => {
    const page = await started.get<{ attacks: { id: number; cell: string | null }[] }>(
      `/api/runs/cells/attacks?${query}`,
    );
    return page.attacks.map(({ id, cell }) => [id, cell]);
  };

  it('are told of each attack, and attacks can be those of one cell', async () => {
    const [cats, dogs] = CELLS;
    const ofDogs = [
      [4, dogs],
      [2, dogs],
    ];
    expect(await of('')).toEqual([[6, null], [5, cats], ofDogs[0], [3, cats], ofDogs[1], [1, cats]]);
    expect(await of('cell=dogs')).toEqual(ofDogs);
    expect(await of('cell=dogs&before=4')).toEqual([[2, dogs]]);
    expect(await of(`cell=${encodeURIComponent(cats)}&limit=2`)).toEqual([
      [5, cats],
      [3, cats],
    ]);
    expect(await of('cell=dogs&outcome=success')).toEqual([[2, dogs]]);
    expect(await of('cell=dogs&outcome=success&judge=other')).toEqual([[2, dogs]]);
    expect(await of('cell=nobody')).toEqual([]);
    expect(await of('cell=')).toHaveLength(6);
    expect(await started.get('/api/runs/cells/attacks/2')).toMatchObject({ id: 2, cell: dogs });
  });

  it.each([`cell=${'x'.repeat(201)}`, 'cell=dogs&cell=cats'])('%s: a bad cell is refused', async (query) => {
    const path = `/api/runs/cells/attacks?${query}`;
    const { status, text } = await started.send({ path, headers: { cookie: started.cookie } });
    expect([status, JSON.parse(text)]).toMatchObject([400, { error: { code: 'bad_query' } }]);
  });

  it('have the figures of the report; a run without any has none', async () => {
    const { cells, stages } = await started.get<CellOverview>('/api/runs/cells');
    expect(cells).toEqual(CELLS);
    expect(stages.map((stage) => stage.cells)).toEqual([
      [
        {
          name: CELLS[0],
          tried: 3,
          wordings: 2,
          asr: expect.objectContaining({ text: '67%', interval: '21–94%', n: 3 }),
        },
        {
          name: CELLS[1],
          tried: 2,
          wordings: 1,
          asr: expect.objectContaining({ text: '50%', interval: '9.5–91%', n: 2 }),
        },
      ],
    ]);
    const plain = await started.get<CellOverview>('/api/runs/first');
    expect([plain.cells, ...plain.stages.map((stage) => stage.cells)]).toEqual([[], [], []]);
    expect((await attacks('limit=1')).attacks).toMatchObject([{ cell: null }]);
  });

  it('are not known where the config is damaged, and the run is shown all the same', async () => {
    const folder = await makeRun(started.parent, 'damaged');
    writeFileSync(join(folder, 'config.yaml'), 'attacker: [');
    expect(await started.get('/api/runs/damaged')).toMatchObject({ status: 'done', cells: [] });
    rmSync(folder, { recursive: true });
  });
});

it('follows a run while it is written, and a run that has not begun is empty', async () => {
  const folder = await makeRun(started.parent, 'live');
  const store = await openStore(join(folder, 'run.db'));
  const live = () => started.get<Page>('/api/runs/live/attacks?limit=1');
  const first = await live();
  recordRunStatus(store, 'done');
  store.beginStage('reinforce', 5);
  const row = { source: 'fresh' as const, ids: [1], text: 'a new one', responses: [] };
  store.recordUpdate({ stage: 'reinforce', update: 0, attacks: [row] });
  const second = await live();
  expect(second.attacks[0]).toMatchObject({
    id: (first.attacks[0]?.id ?? 0) + 1,
    stage: 'reinforce',
    meanUnsafe: null,
  });
  store.close();
});
