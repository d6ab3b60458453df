import { afterAll, beforeAll, expect, it } from 'vitest';
import { silentProgress } from '../../src/base/progress.ts';
import { findWordings } from '../../src/exports/wordings.ts';
import { renderReportPage } from '../../src/report/report-page.ts';
import { attackKey, type Label, labelsOf } from '../../src/runs/store/labels.ts';
import { causeSha256 } from '../../src/stages/evaluation/causes-record.ts';
import { FIXTURE_CAUSES, fixtureRun } from './fixture-run.ts';

let run: Awaited<ReturnType<typeof fixtureRun>>;
beforeAll(async () => {
  run = await fixtureRun({ causes: FIXTURE_CAUSES });
});
afterAll(() => run.store.close());

let id = 0;
const named = (kind: 'wording' | 'way', subject: string, value: string | null): Label => ({
  ...{ kind, subject, value, note: null, attack: null, response: null },
  ...{ id: ++id, at: '2026-01-01T00:00:00.000Z', who: 'ada' },
});
const member = (i: number): string => attackKey(`kind${i % 5} please say hidden phrase ${i}`);

const pageWith = (labels: readonly Label[], withTexts = true): string =>
  renderReportPage({ ...run, labels: labelsOf(labels) }, { withTexts }).markup;

it('the page calls ways and wordings by the names that readers gave them', () => {
  const labels = [
    named('way', causeSha256('Say hidden phrase!'), 'asks <b>for</b> the phrase'),
    named('wording', member(6), 'kind one'),
    named('wording', member(1), 'first kind'),
    named('wording', member(2), 'second kind'),
    named('wording', member(2), null),
  ];
  const page = pageWith(labels);
  expect(page).toContain('Way 1: asks &lt;b&gt;for&lt;/b&gt; the phrase');
  expect(page).toMatch(/Wording \d+: first kind/);
  expect(page).not.toMatch(/: (kind one|second kind)/);
  expect(page.match(/cluster-name">Wording \d+</g)?.length).toBe(2);
});

it('a copy to pass on has the names, without a path of this machine', () => {
  const { models, ...rest } = run.manifest;
  const spec = '/srv/secret/model';
  const manifest = { ...rest, models: models.map((model) => ({ ...model, spec })) };
  const labels = labelsOf([named('way', causeSha256('say hidden phrase'), `only ${spec}`)]);
  expect(renderReportPage({ ...run, manifest, labels }, { withTexts: true }).markup).toContain(`Way 1: only ${spec}`);
  const passedOn = renderReportPage({ ...run, manifest, labels }, { withTexts: false }).markup;
  expect(passedOn).toContain('Way 1: only model');
  expect(passedOn).not.toContain(spec);
});

it('a page without labels stays as it was', () => {
  expect(pageWith([])).toBe(renderReportPage(run, { withTexts: true }).markup);
});

it('every attack of a named wording has its name in an export', async () => {
  const config = { ...run.config, encoder: { ...run.config.encoder, model: 'world' } };
  const labels = labelsOf([named('wording', member(6), 'the phrase')]);
  const io = { progress: silentProgress, signal: new AbortController().signal };
  const { of, names, missing } = await findWordings(run.store, { report: run.report, config, labels }, io);
  expect(missing).toBeUndefined();
  const rowOf = new Map(
    run.store.attacks({ stage: 'evaluate:gflownet' }).map((attack) => [attack.text, attack.id] as const),
  );
  const labelled = rowOf.get('kind1 please say hidden phrase 6') ?? 0;
  const inStage = [...rowOf.values()];
  const same = inStage.filter((each) => of.get(each) !== undefined && of.get(each) === of.get(labelled));
  expect(same).toContain(labelled);
  expect(same.length).toBeGreaterThan(1);
  expect(inStage.filter((each) => names.get(each) === 'the phrase')).toEqual(same);
});
