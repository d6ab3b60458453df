import { cp, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { resumeCampaign, runCampaign } from '../../../src/report/campaigns.ts';
import { openRunFolder } from '../../../src/runs/run-folder.ts';
import type { StoredAttack } from '../../../src/runs/store/records.ts';
import { openStore, type RunStore } from '../../../src/runs/store/run-store.ts';
import { planRun } from '../../../src/stages/campaign/plan-run.ts';
import { lastTrainedStage, openTrainedAttacker } from '../../../src/stages/campaign/sample-attacks.ts';
import type { CampaignIo } from '../../../src/stages/stage.ts';
import { filledWith } from '../../cli/bad-input-place.ts';
import { testPath } from '../../support/golden-file.ts';
import { contentDifferences, readRunContent } from '../run-content.ts';
import { createTinyCampaign, type TinyCampaign } from '../tiny-campaign.ts';

let tiny: TinyCampaign;
const SETTINGS = [
  'attackers=[sft, draws-smoothing, covering, covering-smoothing]',
  'draws={attacks: 160, candidates: 4, coverage: words}',
  'evaluation={attacks: 48, responses: 2, controls: 0, causes: { clusters: 0 }}',
];

const start = (name: string, io: CampaignIo, settings = SETTINGS) =>
  runCampaign({ config: tiny.config(settings), runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' }, io);

async function read<T>(name: string, what: (store: RunStore) => T): Promise<T> {
  const store = await openStore(path.join(tiny.runsFolder, name, 'run.db'), { readOnly: true });
  try {
    return what(store);
  } finally {
    store.close();
  }
}

beforeAll(async () => {
  tiny = await createTinyCampaign();
  await start('whole', tiny.io());
}, 120_000);
afterAll(() => tiny.remove());

const textsOf = (attacks: readonly StoredAttack[]): string[] => attacks.map(({ text }) => text);
const wordsOf = (texts: readonly string[]): number => new Set(texts.flatMap((text) => text.split(' '))).size;

describe('draws of the SFT attacker', () => {
  test('are tried once each, their number is the budget, and every call is in the plan', async () => {
    const plan = await planRun(tiny.config(SETTINGS), tiny.io());
    for (const stage of ['draws', 'covering']) {
      const [attacks, cost] = await read('whole', (store) => [store.attacks({ stage }), store.cost(stage)] as const);
      expect(attacks).toHaveLength(160);
      expect(attacks.every(({ source, responseCount }) => source === 'reference' && responseCount === 2)).toBe(true);
      expect(attacks.map(({ update }) => update)).toEqual(attacks.map((_, i) => Math.floor(i / 64)));
      expect(cost.targetCalls).toBe(320);
      expect(plan.stages.find(({ name }) => name === stage)?.targetCalls).toBe(320);
    }
  });

  test('cost what drawing cost, of all candidates, once', async () => {
    const tokensOf = (stage: string) =>
      read('whole', (store) => {
        const drawn = store.events().filter((event) => event.stage === stage && event.code === 'drawn');
        expect(drawn).toHaveLength(1);
        return { tokens: store.cost(stage).tokens, message: drawn[0]?.message };
      });
    const [plain, covering] = [await tokensOf('draws'), await tokensOf('covering')];
    expect(plain.message).toBe('160 attacks to try, of 160 drawn');
    expect(covering.message).toBe('160 attacks to try, of 640 drawn');
    // The answers cost about as many tokens in both; 480 further attacks have two tokens or more each.
    expect(covering.tokens).toBeGreaterThan(plain.tokens + 960);
  });

  test('leave no attacker of their own: the last trained one is taken, and theirs is refused', async () => {
    const folder = await openRunFolder('whole', tiny.runsFolder);
    const withoutSmoothing = (stage: string): boolean => !stage.endsWith('smoothing');
    expect(await read('whole', (store) => lastTrainedStage(store))).toBe('covering-smoothing');
    expect(await read('whole', (store) => lastTrainedStage(store, withoutSmoothing))).toBe('sft');
    await expect(openTrainedAttacker(folder, 'covering', tiny.io())).rejects.toMatchObject({
      code: 'run',
      message: 'run whole: stage covering leaves no attacker of its own',
    });
  });

  test('cover more words where they are chosen of four times as many, and the file has the choice', async () => {
    const [plain, chosen] = await read('whole', (store) =>
      ['draws', 'covering'].map((stage) => textsOf(store.attacks({ stage }))),
    );
    expect(wordsOf(chosen ?? [])).toBeGreaterThan(1.1 * wordsOf(plain ?? []));
    const kept = JSON.parse(
      await readFile(path.join(tiny.runsFolder, 'whole', 'checkpoints', 'covering-chosen.json'), 'utf8'),
    ) as { readonly attacks: readonly { readonly text: string }[] };
    expect(kept.attacks.map(({ text }) => text)).toEqual(chosen);
  });

  test('are the same attacker as SFT when it is measured; what they found makes smoothing succeed oftener', async () => {
    const [sft, covering] = await read('whole', (store) =>
      ['sft', 'covering'].map((stage) => textsOf(store.attacks({ stage: `evaluate:${stage}` }))),
    );
    expect(covering).toEqual(sft);
    const asrOf = (stage: string) =>
      read('whole', (store) => store.metrics(`evaluate:${stage}`, 'asr')[0]?.value as number);
    expect(await asrOf('draws-smoothing')).toBeGreaterThan((await asrOf('sft')) + 0.3);
    expect(await asrOf('covering-smoothing')).toBeGreaterThan((await asrOf('sft')) + 0.3);
  });

  test('are kept in parts: after Ctrl-C a resume draws none again, and the run ends the same', async () => {
    const stop = new AbortController();
    const started = (work: string) => ({
      update: (done: number) => void (work === 'covering' && done > 0 && stop.abort()),
      finish: () => undefined,
    });
    await expect(start('stopped', { ...tiny.io(stop.signal), progress: { start: started } })).rejects.toMatchObject({
      code: 'interrupted',
      message: 'covering: interrupted, 64 of 160 attacks are kept',
    });
    const works: string[] = [];
    const watched = (work: string) => {
      works.push(work);
      return { update: () => undefined, finish: () => undefined };
    };
    const folder = await openRunFolder('stopped', tiny.runsFolder);
    await resumeCampaign(folder, { ...tiny.io(), progress: { start: watched } });
    expect(works).toContain('covering');
    expect(works).not.toContain('draw from the reference');
    const whole = await openRunFolder('whole', tiny.runsFolder);
    expect(contentDifferences(readRunContent(whole.path), readRunContent(folder.path))).toEqual([]);
  });

  test('end the run with the reason where no answer can be scored', async () => {
    const judge = path.join(tiny.folder, 'judge');
    await cp(testPath('fixtures', 'models', 'bert-classifier'), judge, { recursive: true });
    const weights = path.join(judge, 'model.safetensors');
    const layer = 'bert.encoder.layer.1';
    const overflow = filledWith(1e30, [`${layer}.intermediate.dense.bias`, `${layer}.output.dense.weight`]);
    await writeFile(weights, overflow(await readFile(weights)));
    const settings = [...SETTINGS, 'judges.training={kind: classifier, model: ./judge, unsafeLabels: [toxic]}'];
    await expect(start('broken', tiny.io(), settings)).rejects.toMatchObject({
      code: 'judge',
      message: expect.stringMatching(/^draws: none of 64 attacks could be scored: .*returned NaN/) as string,
    });
  });

  test('go on where nothing of a short last part can be scored', async () => {
    const last = (await read('whole', (store) => textsOf(store.attacks({ stage: 'draws' }))))[64] as string;
    const judge = `export default ({ attack }) => { if (attack === ${JSON.stringify(last)}) throw new Error('lost'); return 0.9; };`;
    await writeFile(path.join(tiny.folder, 'lossy.mjs'), judge);
    const settings = ['attackers=[draws]', 'draws.attacks=65', 'judges.training={kind: module, file: ./lossy.mjs}'];
    await start('lossy', tiny.io(), [...SETTINGS, ...settings]);
    const metrics = await read('lossy', (store) => store.metrics('draws'));
    const values = (name: string) => metrics.filter((metric) => metric.name === name).map(({ value }) => value);
    expect(values('batchAsr')).toEqual([1, null]);
    expect(values('unscored')).toEqual([0, 1]);
  });

  test('are refused before any work where meaning cannot be compared of so many, and only where it is', () => {
    const many = ['draws={attacks: 5000, candidates: 4}'];
    expect(() => tiny.config(['attackers=[covering-smoothing]', ...many])).toThrow(
      'draws.candidates: got 4 for each of 5000, expected at most 16384 draws that are compared by meaning',
    );
    expect(() => tiny.config(['attackers=[covering]', ...many, 'draws.coverage=words'])).not.toThrow();
    expect(() => tiny.config(['attackers=[draws-smoothing]', ...many])).not.toThrow();
  });
});
