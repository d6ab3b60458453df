import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { acquireLock } from '../../../src/base/lock.ts';
import type { ProgressSink } from '../../../src/base/progress.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { buildReport } from '../../../src/report/figures/report-json.ts';
import { type TransferReportCell, transferCell } from '../../../src/report/figures/transfer-report.ts';
import { readManifest } from '../../../src/runs/manifest.ts';
import type { RunFolder } from '../../../src/runs/run-folder.ts';
import { openStore, type RunStore } from '../../../src/runs/store/run-store.ts';
import { evaluateRun, startRun } from '../../../src/stages/campaign/run-campaign.ts';
import { type TransferPlan, transferRun } from '../../../src/studies/transfer/run-transfer.ts';
import { nameTargets, parseTargetsFile } from '../../../src/studies/transfer/transfer-config.ts';
import { createTinyCampaign, type TinyCampaign } from '../../stages/tiny-campaign.ts';
import { testPath } from '../../support/golden-file.ts';

let tiny: TinyCampaign;
let folder: RunFolder;

const ATTACKS = 80;

beforeAll(async () => {
  tiny = await createTinyCampaign();
  const config = tiny.config(['attackers=[icl, sft]', 'sft.updates=2', `evaluation.attacks=${ATTACKS}`]);
  folder = await startRun({ config, runsFolder: tiny.runsFolder, name: 'run', ifTaken: 'refuse' }, tiny.io());
}, 120_000);
afterAll(async () => {
  await tiny.remove();
  expect(liveSessionLabels()).toEqual([]);
});

/** An attack succeeds with an `e`; against the run's own target with a `z`. */
const SCRIPT = `
targets:
  - { name: own }
  - { kind: scripted, name: other, rules: [{ contains: e, respond: [alarm bell] }], otherwise: [fine] }
`;

function planOf(text: string, rest: Partial<TransferPlan> = {}): TransferPlan {
  const targets = nameTargets(parseTargetsFile(text, { fileName: 'targets.yaml', folder: tiny.folder }));
  return { targets, again: false, ...rest };
}

async function withStore<T>(read: (store: RunStore) => T): Promise<T> {
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    return read(store);
  } finally {
    store.close();
  }
}

async function cellOf(attacker: string, target: string): Promise<TransferReportCell | undefined> {
  const manifest = await readManifest(folder.manifestPath);
  return withStore((store) => {
    const { transfer } = buildReport({ store, manifest, status: 'done' });
    return transfer === undefined ? undefined : transferCell(transfer, attacker, target);
  });
}

function textsOf(stage: string): Promise<string[]> {
  return withStore((store) => store.attacks({ stage }).map(({ text }) => text));
}

describe('transfer', () => {
  test('warns of a target that gives one text to all attacks, but not of one that was tuned to refuse', async () => {
    const deaf = `
targets:
  - { kind: scripted, name: deaf, rules: [], otherwise: [ectable] }
  - { kind: scripted, name: tuned, rules: [], otherwise: [No.] }
`;
    const plan = planOf(deaf, { attackers: ['sft'], tuned: ['tuned'] });
    const { warnings } = await transferRun(folder, plan, tiny.io());
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/^target deaf gave the same answer to all 80 attacks of sft\. .* looks safe/);
    expect(warnings[0]).not.toContain('ectable');
    const events = await withStore((store) => store.events().filter(({ code }) => code === 'repeated-answer'));
    expect(events.map(({ stage, level }) => [stage, level])).toEqual([['transfer:sft:deaf', 'warning']]);
    expect((await transferRun(folder, plan, tiny.io())).warnings, 'told again of filled cells').toEqual(warnings);
  });

  test('fills every cell with the stored attacks, word for word, and counts the attacks that succeed against each target', async () => {
    const outcome = await transferRun(folder, planOf(SCRIPT), tiny.io());
    const attackers = ['icl', 'sft'];
    expect(outcome).toEqual({ attackers, targets: ['own', 'other'], filled: 4, cells: 4, warnings: [] });
    const texts = await textsOf('evaluate:sft');
    expect(texts.length).toBe(ATTACKS);
    expect(await textsOf('transfer:sft:other')).toEqual(texts);
    const cell = await cellOf('sft', 'other');
    const share = texts.filter((text) => text.includes('e')).length / ATTACKS;
    const atHome = texts.filter((text) => text.includes('z'));
    for (const { metrics } of cell?.judges ?? []) {
      expect(metrics.asr?.value).toBeCloseTo(share, 12);
      expect(metrics.transferRate?.n).toBe(atHome.length);
      expect(metrics.transferRate?.value ?? 0).toBeCloseTo(
        atHome.filter((text) => text.includes('e')).length / atHome.length,
        12,
      );
      expect(metrics.uniqueAttacks?.value).toBeGreaterThan(0);
    }
    expect(cell?.judges.map(({ name }) => name).sort()).toEqual(['bells', 'lexicon']);
    expect(cell?.cost.targetCalls).toBe(ATTACKS * 5);
  });

  test('the own target gives the own result: every success transfers', async () => {
    const cell = await cellOf('sft', 'own');
    const manifest = await readManifest(folder.manifestPath);
    const home = await withStore((store) => buildReport({ store, manifest, status: 'done' }).stages);
    expect(cell?.judges.find(({ name }) => name === 'bells')?.metrics.asr?.value).toBe(
      home.find(({ name }) => name === 'sft')?.metrics.asr?.value,
    );
    expect(cell?.judges[0]?.metrics.transferRate?.value ?? 1).toBe(1);
    expect(home.map(({ name }) => name).sort()).toEqual(['icl', 'sft']);
  });

  test('a second time there is nothing to do; a further target fills its own cells only', async () => {
    expect((await transferRun(folder, planOf(SCRIPT), tiny.io())).filled).toBe(0);
    const more = `${SCRIPT}  - { kind: scripted, name: third, otherwise: [alarm bell] }\n`;
    const before = await withStore((store) => store.attacks({ stage: 'transfer:sft:other' }).map(({ id }) => id));
    expect((await transferRun(folder, planOf(more), tiny.io())).filled).toBe(2);
    const after = await withStore((store) => store.attacks({ stage: 'transfer:sft:other' }).map(({ id }) => id));
    expect(after).toEqual(before);
    expect((await cellOf('icl', 'third'))?.judges[0]?.metrics.asr?.value).toBe(1);
  });

  test('interrupted, it keeps whole batches and makes only the rest', async () => {
    const slow = planOf('targets: [{ kind: scripted, name: slow, otherwise: [alarm bell] }]', { attackers: ['sft'] });
    const stop = new AbortController();
    const progress: ProgressSink = {
      start: () => ({ update: (done) => (done >= 32 ? stop.abort() : undefined), finish: () => undefined }),
    };
    await expect(transferRun(folder, slow, { ...tiny.io(stop.signal), progress })).rejects.toMatchObject({
      code: 'interrupted',
    });
    const kept = await withStore((store) => store.attacks({ stage: 'transfer:sft:slow' }));
    expect(kept.length).toBe(32);
    expect((await cellOf('sft', 'slow'))?.status).toBe('interrupted');
    expect((await transferRun(folder, slow, tiny.io())).filled).toBe(1);
    const whole = await withStore((store) => store.attacks({ stage: 'transfer:sft:slow' }));
    expect(whole.slice(0, 32)).toEqual(kept);
    expect(await withStore((store) => store.cost('transfer:sft:slow').targetCalls)).toBe(ATTACKS * 5);
    expect(await withStore((store) => store.repeatedCalls())).toEqual([]);
  });

  test('a limit takes the first attacks, and a larger one adds what is missing', async () => {
    const few = 'targets: [{ kind: scripted, name: few, otherwise: [alarm bell] }]';
    await transferRun(folder, planOf(few, { attackers: ['sft'], attacks: 10 }), tiny.io());
    expect(await textsOf('transfer:sft:few')).toEqual((await textsOf('evaluate:sft')).slice(0, 10));
    expect((await transferRun(folder, planOf(few, { attackers: ['sft'], attacks: 5 }), tiny.io())).filled).toBe(0);
    expect((await transferRun(folder, planOf(few, { attackers: ['sft'] }), tiny.io())).filled).toBe(1);
    expect((await cellOf('sft', 'few'))?.attacks).toBe(ATTACKS);
  });

  test('another target under a known name is refused, and measured again on demand', async () => {
    const changed = 'targets: [{ kind: scripted, name: few, otherwise: [fine], responses: 3 }]';
    await expect(transferRun(folder, planOf(changed, { attackers: ['sft'] }), tiny.io())).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('another responses'),
    });
    await transferRun(folder, planOf(changed, { attackers: ['sft'], again: true }), tiny.io());
    expect((await cellOf('sft', 'few'))?.judges[0]?.metrics.asr?.value).toBe(0);
  });

  test('cells of an attacker that was evaluated again are made from its new attacks', async () => {
    await evaluateRun(folder, ['sft'], { seed: 7, replace: true }, tiny.io());
    expect((await transferRun(folder, planOf(SCRIPT), tiny.io())).filled).toBe(2);
    expect(await textsOf('transfer:sft:other')).toEqual(await textsOf('evaluate:sft'));
  });
});

describe('models of this machine', () => {
  const SHORT = 'decode: { temperature: 1, topP: 1, maxNewTokens: 8 }\nresponses: 2\n';
  const FORMS = `${SHORT}targets:
  - { name: whole, model: ./attacker }
  - { name: again, model: ./attacker }
  - { name: shorter, model: ./attacker, layers: 1 }
  - { name: coarser, model: ./attacker, precision: int8 }
  - { name: shorter-coarser, model: ./attacker, layers: 1, precision: int8 }
  - { name: other-family, model: ${testPath('fixtures', 'models', 'gpt2')} }
`;
  const responsesOf = (target: string) =>
    withStore((store) =>
      store.attacks({ stage: `transfer:icl:${target}` }).map(({ id }) => store.responses(id).map(({ text }) => text)),
    );

  test('are asked in every form, each recorded with what it is; the same form answers the same', async () => {
    await transferRun(folder, planOf(FORMS, { attackers: ['icl'], attacks: 12 }), tiny.io());
    const [whole, again, shorter, coarser] = await Promise.all(
      ['whole', 'again', 'shorter', 'coarser'].map(responsesOf),
    );
    expect(whole?.flat().length).toBe(24);
    expect(again).toEqual(whole);
    expect(shorter).not.toEqual(whole);
    expect(coarser?.flat().length).toBe(24);
    const manifest = await readManifest(folder.manifestPath);
    const { transfer } = await withStore((store) => buildReport({ store, manifest, status: 'done' }));
    const of = (name: string) => transfer?.targets.find((target) => target.name === name);
    expect(of('whole')).toMatchObject({
      layers: 2,
      ofLayers: 2,
      precision: 'fp32',
      template: 'chat',
      divergence: null,
    });
    expect(of('shorter')).toMatchObject({ layers: 1, ofLayers: 2, sha256: of('whole')?.sha256 });
    for (const name of ['coarser', 'shorter-coarser']) {
      expect(of(name)?.precision).toBe('int8');
      expect(of(name)?.divergence?.klPerToken).toBeGreaterThan(0);
      expect(of(name)?.divergence?.klPerToken).toBeLessThan(0.1);
    }
    expect(of('other-family')).toMatchObject({ family: 'gpt2', template: 'plain' });
    expect(of('other-family')?.warnings).toEqual([expect.stringContaining('no chat template')]);
  });
});

describe('a plan that cannot be carried out is refused before any work', () => {
  const refused = (plan: TransferPlan, error: object) =>
    expect(transferRun(folder, plan, tiny.io())).rejects.toMatchObject(error);

  test('an attacker that was not evaluated, with the nearest name', () =>
    refused(planOf(SCRIPT, { attackers: ['stf'] }), {
      code: 'usage',
      message: expect.stringContaining('expected one that was evaluated: icl, sft'),
      hint: 'did you mean sft?',
    }));

  test('a model that is not there', () =>
    refused(planOf('targets: [{ model: ./nowhere }]'), {
      code: 'source',
      message: expect.stringContaining('nowhere'),
    }));

  test('a chat with a model that has no template', () =>
    refused(planOf(`targets: [{ model: ${testPath('fixtures', 'models', 'gpt2')}, template: chat }]`), {
      code: 'target',
      hint: expect.stringContaining('template'),
    }));

  test('more layers than the model has', () =>
    refused(planOf('targets: [{ model: ./attacker, layers: 99 }]'), {
      code: 'model',
      message: expect.stringContaining('layers: 99'),
    }));

  test("a world's target outside a world", () =>
    refused(planOf('targets: [{ kind: world }]'), {
      code: 'usage',
      message: expect.stringMatching(/^transfer target gpt2-small-0.5: .*no synthetic world/),
    }));

  test("a change of the run's own target that its kind does not know", () =>
    refused(planOf('targets: [{ layers: 1 }]'), {
      code: 'usage',
      message: expect.stringContaining("got layers for the run's own target, which is scripted"),
    }));

  test('while another process holds the run', async () => {
    const lock = await acquireLock(folder.lockPath);
    try {
      await refused(planOf(SCRIPT), { code: 'run', message: expect.stringContaining('in use') });
    } finally {
      await lock.release();
    }
  });
});

describe('a targets file', () => {
  test('names every key that it does not know, and every value out of range', () => {
    const text = 'targets: [{ modl: x }, { model: y, layers: 0 }]\ndecode: { temprature: 1 }';
    expect(() => planOf(text)).toThrow(/temprature.*modl.*layers/s);
  });

  test('names targets by their model, and wants a name each', () => {
    const names = (list: string) => planOf(`targets: [${list}]`).targets.map(({ name }) => name);
    expect(
      names('{}, { layers: 3 }, { model: "tuned:safe" }, { precision: int8 }, { model: ./a/b/model, layers: 2 }'),
    ).toEqual(['own', 'own-3-layers', 'safe', 'own-int8', 'b-2-layers']);
    expect(names('{ kind: scripted }, { kind: world }, { kind: world, family: llama, share: 0.25, seed: 3 }')).toEqual([
      'scripted',
      'gpt2-small-0.5',
      'llama-small-0.25',
    ]);
    expect(() => planOf('targets: [{}, {}]')).toThrow(/two targets named own/);
  });

  test('its common keys hold where a target says nothing else', () => {
    const text =
      'decode: { topP: 0.5 }\nresponses: 2\ntargets: [{ decode: { temperature: 1 } }, { name: b, responses: 9 }]';
    const [first, second] = planOf(text).targets;
    expect(first).toMatchObject({ decode: { temperature: 1, topP: 0.5 }, responses: 2 });
    expect(second).toMatchObject({ decode: { topP: 0.5 }, responses: 9 });
  });
});
