import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { writeManifest } from '../../src/runs/manifest.ts';
import { createRunFolder } from '../../src/runs/run-folder.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import type { Config } from '../../src/stages/config/config.ts';
import { fixtureRun } from '../report/fixture-run.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';
import { cli } from './cli-runner.ts';

const place = mkdtempSync(join(tmpdir(), 'floodgate-report-'));
const runsDir = join(place, 'runs');
const config = parseConfig(minimalConfigText, { fileName: 'a.yaml', folder: '/configs' });

async function makeMeasuredRun(name: string, config: Config): Promise<void> {
  const folder = await createRunFolder({ runsFolder: runsDir, name, ifTaken: 'refuse', configAt: () => config });
  const { store, manifest } = await fixtureRun({ databasePath: folder.databasePath });
  store.close();
  await writeManifest(folder.manifestPath, manifest);
}

beforeAll(async () => {
  await makeMeasuredRun('measured', config);
  const encoder = join(place, 'damaged-encoder');
  mkdirSync(encoder);
  writeFileSync(join(encoder, 'config.json'), '{"model_type": "bert", "hidden_size": ');
  writeFileSync(join(encoder, 'model.safetensors'), 'no weights');
  await makeMeasuredRun('damaged', { ...config, encoder: { ...config.encoder, model: encoder } });
  await createRunFolder({ runsFolder: runsDir, name: 'fresh', ifTaken: 'refuse', configAt: () => config });
});

/** With a model cache that holds nothing: the encoder is not on this machine. */
const report = (...args: string[]) =>
  cli(['report', ...args, '--runs-dir', runsDir, '--cache-dir', join(place, 'empty')]);

describe('report', () => {
  it('writes report.html into the run folder and names it, also on a machine without the encoder', async () => {
    const { code, stdout } = await report('measured');
    const path = join(runsDir, 'measured/report.html');
    expect(code).toBe(0);
    expect(stdout).toContain(`report: ${path} (`);
    expect(stdout).toContain('without map, and with rough clusters: it is not on the machine that made this page');
    const page = readFileSync(path, 'utf8');
    expect(page).toMatch(/^<!doctype html>/);
    expect(page).toContain('hidden phrase');
    expect(page).not.toContain('/configs');
  });

  it('writes where it is told, leaves texts out when told, and says so as JSON', async () => {
    const path = join(place, 'deep/er/share.html');
    const { code, stdout } = await report('measured', '--out', path, '--without-texts', '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      run: 'measured',
      path,
      bytes: readFileSync(path).length,
      texts: 0,
      withoutEncoder: 'it is not on the machine that made this page',
    });
    expect(readFileSync(path, 'utf8')).not.toMatch(/hidden phrase|reply (one|two)/);
  });

  it('leaves the page of the run as it is when a copy without texts is asked for, and takes - for no file', async () => {
    await report('measured');
    const page = readFileSync(join(runsDir, 'measured/report.html'), 'utf8');
    const { stdout } = await report('measured', '--without-texts', '--json');
    expect(JSON.parse(stdout).path).toBe(join(runsDir, 'measured/report-without-texts.html'));
    expect(readFileSync(join(runsDir, 'measured/report.html'), 'utf8')).toBe(page);
    const refused = await report('measured', '--out', '-');
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('got -, expected a file') });
    expect(existsSync('-')).toBe(false);
  });

  it('takes a damaged encoder for an error, not for a missing one', async () => {
    expect(await report('damaged')).toMatchObject({ code: 1, stderr: expect.stringContaining('damaged-encoder') });
    expect(existsSync(join(runsDir, 'damaged/report.html'))).toBe(false);
  });

  it('refuses a run without measurements, or none at all, and writes nothing', async () => {
    expect(await report('fresh')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('nothing has been measured yet'),
    });
    expect(existsSync(join(runsDir, 'fresh/report.html'))).toBe(false);
    expect(await report('nothing')).toMatchObject({ code: 2, stderr: expect.stringContaining('no such run') });
  });
});
