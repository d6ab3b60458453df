import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import type { CampaignActions, RunRequest } from '../../src/cli/campaign-commands.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';
import { cli } from './cli-runner.ts';

let folder: string;
let configPath: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-cli-'));
  configPath = join(folder, 'mine.yaml');
  writeFileSync(configPath, minimalConfigText);
});

/** Actions that note what they were asked, and answer with a fixed result or error. */
function recordingActions(answer: () => { text: string; json: object }) {
  const requests: unknown[] = [];
  const act = async (request: unknown) => {
    requests.push(request);
    return answer();
  };
  const campaign: CampaignActions = { run: act, resume: act, evaluate: act, sample: act };
  return { campaign, requests };
}

describe('usage', () => {
  it('shows help with examples and exit codes', async () => {
    const { code, stdout } = await cli(['--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/Examples:\n {2}floodgate init/);
    expect(stdout).toContain('130 interrupted');
    expect((await cli(['show', '--help'])).stdout).toContain('floodgate show smollm2 --attacks 20');
    expect((await cli(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+/);
  });

  it('exits with 2 and the nearest name for what it does not know', async () => {
    const command = await cli(['lst']);
    expect(command).toMatchObject({ code: 2, stdout: '' });
    expect(command.stderr).toContain("unknown command 'lst'");
    expect(command.stderr).toContain('Did you mean list?');
    const option = await cli(['list', '--runs-dri', 'x']);
    expect(option.code).toBe(2);
    expect(option.stderr).toContain('Did you mean --runs-dir?');
    expect((await cli([])).code).toBe(2);
    expect((await cli(['show'])).stderr).toContain("missing required argument 'run'");
    expect((await cli(['show', 'x', '--attacks', '-3'])).stderr).toContain('expected a whole number');
  });

  it('prints one JSON object for an error under --json, wherever the flag stands', async () => {
    for (const args of [
      ['--json', 'lst'],
      ['lst', '--json'],
    ]) {
      const { code, stdout, stderr } = await cli(args);
      expect({ code, stderr }).toEqual({ code: 2, stderr: '' });
      expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'usage', hint: 'Did you mean list?' } });
    }
  });

  it('shows the stack with --debug only', async () => {
    const args = ['config', 'show', join(folder, 'none.yaml')];
    expect((await cli(args)).stderr).not.toContain('    at ');
    const { stderr, code } = await cli([...args, '--debug']);
    expect(code).toBe(2);
    expect(stderr).toContain('    at ');
    expect(stderr).toContain('caused by: Error: ENOENT');
  });
});

describe('init and config', () => {
  it('writes a config that is valid as it stands, once', async () => {
    const path = join(folder, 'new.yaml');
    expect((await cli(['init', path])).code).toBe(0);
    expect(existsSync(join(folder, 'new-seeds.txt'))).toBe(true);
    const shown = await cli(['config', 'show', path, '--json']);
    expect(JSON.parse(shown.stdout)).toMatchObject({ seeds: { path: join(folder, 'new-seeds.txt') } });
    const again = await cli(['init', path]);
    expect(again.code).toBe(2);
    expect(again.stderr).toContain('hint: name another file, or --force');
    writeFileSync(path, 'mine');
    expect((await cli(['init', path, '--force', '--json'])).code).toBe(0);
    expect(readFileSync(path, 'utf8')).toContain('authorisation:');
  });

  it('shows a config as YAML that reads back as itself', async () => {
    const first = await cli(['config', 'show', configPath, '--set', 'seed=9', '--set', 'gflownet.beta=0.2']);
    expect(first.stdout).toContain('seed: 9');
    const copy = join(folder, 'copy.yaml');
    writeFileSync(copy, first.stdout);
    expect((await cli(['config', 'show', copy])).stdout).toBe(first.stdout);
  });

  it('exits with 2 for a config that is wrong', async () => {
    const { code, stderr } = await cli(['config', 'show', configPath, '--set', 'gflownet.bta=1']);
    expect(code).toBe(2);
    expect(stderr).toContain('did you mean gflownet.beta?');
  });

  it('prints the schema', async () => {
    expect(JSON.parse((await cli(['config', 'schema'])).stdout)).toMatchObject({ type: 'object' });
    expect((await cli(['config', 'schema', '--markdown'])).stdout).toContain('| `gflownet.beta` |');
  });
});

describe('campaign commands', () => {
  it('turns flags into a request', async () => {
    const { campaign, requests } = recordingActions(() => ({ text: 'planned', json: { planned: true } }));
    const flags = ['--name', 'n1', '--seed', '7', '--threads', '2', '--device', 'webgpu', '--dry-run'];
    const { code, stdout } = await cli(['run', configPath, ...flags, '--runs-dir', folder], { campaign });
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'planned\n' });
    const [request] = requests as [RunRequest];
    expect(request).toMatchObject({ name: 'n1', isNameChosen: true, isDryRun: true, runsFolder: folder });
    expect(request.config).toMatchObject({ seed: 7, threads: 2, attacker: { device: 'webgpu' } });
    expect(request.config.encoder.device).toBe('webgpu');
    await cli(['run', configPath], { campaign });
    expect(requests[1]).toMatchObject({ name: 'mine', isNameChosen: false, isDryRun: false });
  });

  it('refuses flags out of range before anything starts', async () => {
    const { campaign, requests } = recordingActions(() => ({ text: '', json: {} }));
    for (const flags of [
      ['--seed', 'x'],
      ['--device', 'tpu'],
      ['--threads', '0'],
      ['--set', 'sft.updates=none'],
    ])
      expect((await cli(['run', configPath, ...flags], { campaign })).code).toBe(2);
    expect((await cli(['resume', 'nothing', '--runs-dir', folder], { campaign })).code).toBe(2);
    expect((await cli(['sample', 'x', '--temperature', '0'], { campaign })).code).toBe(2);
    expect((await cli(['evaluate', 'x', '--stage', 'sfft'], { campaign })).code).toBe(2);
    expect(requests).toEqual([]);
  });

  it('exits with 130 when interrupted, with 1 when it fails', async () => {
    const failing = (error: Error) =>
      recordingActions(() => {
        throw error;
      }).campaign;
    const interrupted = new FloodgateError('interrupted', 'run: stopped after update 3', {
      hint: 'floodgate resume x',
    });
    expect(await cli(['run', configPath], { campaign: failing(interrupted) })).toMatchObject({
      code: 130,
      stderr: 'error: run: stopped after update 3\nhint: floodgate resume x\n',
    });
    expect((await cli(['run', configPath], { campaign: failing(new TypeError('a fault')) })).code).toBe(1);
    expect((await cli(['run', configPath], { campaign: failing(new FloodgateError('store', 's')) })).code).toBe(1);
  });
});
