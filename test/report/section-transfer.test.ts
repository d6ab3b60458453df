import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { wilsonInterval } from '../../src/metrics/intervals.ts';
import { buildReport } from '../../src/report/figures/report-json.ts';
import { renderReportPage } from '../../src/report/report-page.ts';
import type { RunStore } from '../../src/runs/store/run-store.ts';
import { transferStage } from '../../src/runs/store/stage-name.ts';
import { recordTarget, type TargetRecord } from '../../src/studies/transfer/target-record.ts';
import { fixtureRun } from './fixture-run.ts';

const HOSTILE = '<script>alert(1)</script>';

function targetNamed(name: string, more: Partial<TargetRecord> = {}): TargetRecord {
  return {
    name,
    kind: 'local',
    model: 'toy-target',
    sha256: 'cd',
    family: 'llama',
    layers: 30,
    ofLayers: 30,
    precision: 'fp32',
    template: 'chat',
    systemPrompt: null,
    decode: { temperature: 0.1, topP: 0.9, topK: 0, maxNewTokens: 64 },
    responses: 5,
    shared: null,
    divergence: null,
    warnings: [],
    ...more,
  };
}

function recordCell(store: RunStore, target: string, successes: number | undefined): void {
  const stage = transferStage({ attacker: 'gflownet', target });
  store.beginStage(stage, 1);
  if (successes === undefined) return;
  store.recordUpdate({
    stage,
    update: 0,
    metrics: ['trainer', 'other'].flatMap((judge) => [
      { name: 'asr', judge, ...wilsonInterval(successes, 40) },
      { name: 'uniqueAttacks', judge, value: successes / 2, low: null, high: null, n: 40 },
    ]),
  });
  store.endStage(stage, 'done');
}

async function pageWithTransfer(): Promise<string> {
  const source = await fixtureRun();
  const { store, manifest } = source;
  recordTarget(store, targetNamed('weak'));
  recordTarget(store, targetNamed('strong', { layers: 24, systemPrompt: HOSTILE, warnings: ['a word of warning'] }));
  recordTarget(store, targetNamed('stopped'));
  recordCell(store, 'weak', 40);
  recordCell(store, 'strong', 4);
  recordCell(store, 'stopped', undefined);
  const report = buildReport({ store, manifest, status: 'done' });
  const { markup } = renderReportPage({ ...source, report }, { withTexts: true });
  store.close();
  return markup.slice(markup.indexOf('<section id="transfer"'), markup.indexOf('<section id="judges"'));
}

test('the matrix shows every number in its cell, shaded by it, and a dash where nothing was measured', async () => {
  const section = await pageWithTransfer();
  expect(section).toContain('heat-10"><span class="value">100%');
  expect(section).toContain('heat-1"><span class="value">10%');
  expect(section).toContain('4.0–23%');
  expect(section).toContain('data-label="stopped">–');
  expect(section).toContain('heat-10"><span class="value">20<'); // unique attacks: shaded against the most of the table
  expect(section).toContain('by the judge other');
  expect(section).toContain('The same by the judge trainer');
});

test('targets are described, their prompts as text', async () => {
  const section = await pageWithTransfer();
  expect(section).toContain('first 24 of 30 layers');
  expect(section).toContain('a word of warning');
  expect(section).not.toContain(HOSTILE);
  expect(section).toContain('&lt;script&gt;');
});

test('a run without transfer has no such section', async () => {
  const source = await fixtureRun();
  const { markup } = renderReportPage(source, { withTexts: true });
  source.store.close();
  expect(markup).not.toContain('id="transfer"');
  expect(source.report.transfer).toBeUndefined();
});

/** Relative luminance (WCAG 2.2) of a colour in [0, 255]^3. */
function luminance(colour: readonly number[]): number {
  const [r = 0, g = 0, b = 0] = colour.map((part) =>
    part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

test.each(['light', 'dark'])('the darkest shade leaves its number readable in the %s', (scheme) => {
  const css = readFileSync(new URL('../../assets/report/page.css', import.meta.url), 'utf8');
  const theme = css.split('--paper:')[scheme === 'light' ? 1 : 2] ?? '';
  const colourOf = (name: string): number[] => {
    const hex = new RegExp(`--${name}: #([0-9a-f]{6})`).exec(theme)?.[1] ?? '';
    return [0, 2, 4].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
  };
  const shade = Number(/\.heat-10 \{ --shade: (\d+)%/.exec(css)?.[1]) / 100;
  const [hit, raised] = [colourOf('hit'), colourOf('raised')];
  const mixed = hit.map((part, i) => shade * part + (1 - shade) * (raised[i] as number));
  const [low = 0, high = 0] = [luminance(mixed), luminance(colourOf('ink'))].sort((a, b) => a - b);
  expect((high + 0.05) / (low + 0.05)).toBeGreaterThan(4.5);
});
