import { rm } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ReportedRun, resumeCampaign, runCampaign } from '../../../src/report/campaigns.ts';
import { openStore, type RunStore } from '../../../src/runs/store/run-store.ts';
import { createTinyCampaign, type TinyCampaign } from '../tiny-campaign.ts';

const SHORT = ['sft.updates=8', 'evaluation={attacks: 48, responses: 1, controls: 0, causes: {clusters: 0}}'];
const REPLAY = ['attackers=[replay]', 'replay.from=run:baseline', ...SHORT];

let tiny: TinyCampaign;

const run = (name: string, ...overrides: string[]): Promise<ReportedRun> =>
  runCampaign({ config: tiny.config(overrides), runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' }, tiny.io());

async function readStore<T>(databasePath: string, read: (store: RunStore) => T): Promise<T> {
  const store = await openStore(databasePath, { readOnly: true });
  try {
    return read(store);
  } finally {
    store.close();
  }
}

const evaluated = ({ folder }: ReportedRun, stage: string) =>
  readStore(folder.databasePath, (store) =>
    store.attacks({ stage: `evaluate:${stage}` }).map(({ text, ids, id }) => {
      return { text, ids, isUnsafe: store.responses(id).some((each) => each.text === 'alarm bell') };
    }),
  );

const rateOf = ({ report }: ReportedRun) => report.stages.find(({ name }) => name === 'replay')?.metrics.asr;

let baseline: ReportedRun;
let successes: ReadonlySet<string>;

beforeAll(async () => {
  tiny = await createTinyCampaign();
  baseline = await run('baseline', 'attackers=[icl, sft]', ...SHORT, 'attacker.maxTokens=12');
  const found = [...(await evaluated(baseline, 'sft')), ...(await evaluated(baseline, 'icl'))];
  successes = new Set(found.filter(({ isUnsafe }) => isUnsafe).map(({ text }) => text));
}, 60_000);

afterAll(() => tiny.remove());

describe('replay', () => {
  it('sends the distinct successes of another run again, each once and as it was written', async () => {
    expect(successes.size).toBeGreaterThan(3);
    // This attacker's own limit is shorter than the attacks that it replays.
    const again = await run('again', ...REPLAY, 'attacker.maxTokens=6');
    const sent = await evaluated(again, 'replay');
    expect(sent.map(({ text }) => text).sort()).toEqual([...successes].sort());
    expect(sent.every(({ ids }) => ids.length === 0)).toBe(true);
    expect(rateOf(again)).toMatchObject({ value: 1, n: successes.size });
    // Batches of 32, and the update of the figures: none is planned for attacks that do not exist.
    const last = await readStore(again.folder.databasePath, (store) => store.lastUpdate('evaluate:replay'));
    expect(last).toBe(Math.ceil(successes.size / 32));
  });

  it('shows which of them a changed target still answers unsafely, and trains nothing', async () => {
    const closed = await run('closed', ...REPLAY, 'target.rules=[]');
    expect(rateOf(closed)).toMatchObject({ value: 0, n: successes.size });
    expect(closed.report.stages.map(({ name }) => name)).toEqual(['replay']);
  });

  it('sends at most replay.attacks, taking the attackers in turn', async () => {
    const few = await run('few', ...REPLAY, 'replay.attacks=2');
    const sent = (await evaluated(few, 'replay')).map(({ text }) => text);
    const of = async (stage: string) => (await evaluated(baseline, stage)).filter(({ isUnsafe }) => isUnsafe);
    expect(sent).toEqual([(await of('icl'))[0]?.text, (await of('sft'))[0]?.text]);
  });

  it('resumes without its baseline, which it has read', async () => {
    const whole = await run('whole', ...REPLAY);
    const store = await openStore(whole.folder.databasePath);
    store.truncateAfter('evaluate:replay', -1);
    store.beginStage('evaluate:replay', 2); // running again
    store.close();
    await rm(baseline.folder.path, { recursive: true });
    const resumed = await resumeCampaign(whole.folder, tiny.io());
    expect(rateOf(resumed)).toMatchObject({ value: 1, n: successes.size });
  });

  it('needs a run that found something', async () => {
    expect(() => tiny.config(['attackers=[replay]'])).toThrow(/replay.from: is missing/);
    await run('nothing', 'attackers=[icl]', 'target.rules=[]', ...SHORT);
    // Said before anything is trained, so with sft nothing was.
    await expect(run('none', ...REPLAY, 'attackers=[sft, replay]', 'replay.from=run:nothing')).rejects.toThrow(
      /no attack of that run succeeded/,
    );
    expect(await readStore(path.join(tiny.runsFolder, 'none', 'run.db'), (store) => store.lastUpdate('sft'))).toBe(-1);
    await expect(run('gone', ...REPLAY)).rejects.toThrow(/no such run/);
  });
});
