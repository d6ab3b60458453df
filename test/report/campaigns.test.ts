import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KEPT_MAP, parseKeptMap } from '../../src/report/attacks/kept-map.ts';
import { evaluateCampaign, type ReportedRun, resumeCampaign, runCampaign } from '../../src/report/campaigns.ts';
import { reportSchema } from '../../src/report/figures/report-json.ts';
import { listRunFolders } from '../../src/runs/run-folder.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';

const SHORT = ['sft.updates=2', 'gflownet.updates=3', 'gflownet.warmupUpdates=1', 'watch.everyUpdates=0'];
const MEASURED = ['attackers=[sft, gflownet]', 'evaluation.attacks=6', 'evaluation.controls=0'];

let tiny: TinyCampaign;
let run: ReportedRun;
const start = (name: string, signal?: AbortSignal) =>
  runCampaign(
    { config: tiny.config([...SHORT, ...MEASURED]), runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' },
    tiny.io(signal),
  );

beforeAll(async () => {
  tiny = await createTinyCampaign();
  run = await start('first');
}, 120_000);
afterAll(() => tiny.remove());

/** The report as the file has it, checked against the schema. */
const writtenReport = ({ reportPath }: ReportedRun) => reportSchema.parse(JSON.parse(readFileSync(reportPath, 'utf8')));

describe('a campaign through the library', { timeout: 120_000 }, () => {
  it('leaves the figures and the page in its folder, and returns the same figures', () => {
    expect(run.reportPath).toBe(join(run.folder.path, 'report.json'));
    expect(run.pagePath).toBe(join(run.folder.path, 'report.html'));
    expect(writtenReport(run)).toEqual(run.report);
    expect(run.report.run.status).toBe('done');
    expect(run.report.stages.map(({ name, metrics }) => [name, metrics.asr?.n])).toEqual([
      ['sft', 6],
      ['gflownet', 6],
    ]);
    const page = readFileSync(run.pagePath, 'utf8');
    expect(page).toMatch(/^<!doctype html>/);
    expect(page).toContain('id="map"');
    const map = parseKeptMap(readFileSync(join(run.folder.path, KEPT_MAP), 'utf8'));
    expect(map.panels.map(({ stage, points }) => [stage, points.length])).toEqual([
      ['sft', 6],
      ['gflownet', 6],
    ]);
  });

  it('gets its report again from a resume, with the same figures, and trains nothing', async () => {
    const weights = statSync(run.folder.checkpointsPath).mtimeMs;
    rmSync(run.reportPath);
    rmSync(run.pagePath);
    const again = await resumeCampaign(run.folder, tiny.io());
    expect(again.report).toEqual(run.report);
    expect(writtenReport(again)).toEqual(run.report);
    expect(existsSync(again.pagePath)).toBe(true);
    expect(statSync(run.folder.checkpointsPath).mtimeMs).toBe(weights);
  });

  it('is measured again: one stage with another number, then those of the config as the config says', async () => {
    const one = await evaluateCampaign(run.folder, ['gflownet'], { attacks: 4, replace: true }, tiny.io());
    const sizes = ({ report }: ReportedRun) => report.stages.map(({ metrics }) => metrics.asr?.n);
    expect(sizes(one)).toEqual([6, 4]);
    expect(writtenReport(one)).toEqual(one.report);
    const all = await evaluateCampaign(run.folder, undefined, { attacks: 6 }, tiny.io());
    expect(sizes(all)).toEqual([6, 6]);
    const figuresOf = ({ report }: ReportedRun) => report.stages.map(({ name, metrics }) => [name, metrics.asr]);
    expect(figuresOf(all)).toEqual(figuresOf(run));
  });

  it('leaves no report when it is interrupted; a resume finishes it', async () => {
    const stopped = new AbortController();
    stopped.abort();
    await expect(start('second', stopped.signal)).rejects.toMatchObject({ code: 'interrupted' });
    const folder = (await listRunFolders(tiny.runsFolder)).find(({ name }) => name === 'second');
    if (folder === undefined) throw new Error('the run has no folder');
    expect(existsSync(folder.reportPath)).toBe(false);
    const { report } = await resumeCampaign(folder, tiny.io());
    expect(report.stages.map(({ metrics }) => metrics.asr)).toEqual(
      run.report.stages.map(({ metrics }) => metrics.asr),
    );
  });
});
