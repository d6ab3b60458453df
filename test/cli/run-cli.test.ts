import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import { createBareProgram, type ProgramParts } from '../../src/cli/program.ts';
import { runRequest } from '../../src/cli/run-command.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';
import { cli } from './cli-runner.ts';

let folder: string;
let configPath: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-cli-'));
  configPath = join(folder, 'mine.yaml');
  writeFileSync(configPath, minimalConfigText);
});

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
    const { reward, gflownet } = JSON.parse(shown.stdout);
    const works = JSON.parse((await cli(['config', 'show', 'examples/smollm2.yaml', '--json'])).stdout);
    expect([reward.temperature, reward.beta]).toEqual([works.reward.temperature, works.reward.beta]);
    expect(gflownet.sampling).toEqual(works.gflownet.sampling);
    const again = await cli(['init', path]);
    expect(again.code).toBe(2);
    expect(again.stderr).toContain('hint: name another file, or --force');
    writeFileSync(path, 'mine');
    expect((await cli(['init', path, '--force', '--json'])).code).toBe(0);
    expect(readFileSync(path, 'utf8')).toContain('authorisation:');
  });

  it('shows a config as YAML that reads back as itself', async () => {
    const first = await cli(['config', 'show', configPath, '--set', 'seed=9', '--set', 'reward.beta=0.2']);
    expect(first.stdout).toContain('seed: 9');
    const copy = join(folder, 'copy.yaml');
    writeFileSync(copy, first.stdout);
    expect((await cli(['config', 'show', copy])).stdout).toBe(first.stdout);
  });

  it('exits with 2 for a config that is wrong', async () => {
    const { code, stderr } = await cli(['config', 'show', configPath, '--set', 'reward.bta=1']);
    expect(code).toBe(2);
    expect(stderr).toContain('did you mean reward.beta?');
  });

  it('prints the schema', async () => {
    expect(JSON.parse((await cli(['config', 'schema'])).stdout)).toMatchObject({ type: 'object' });
    expect((await cli(['config', 'schema', '--markdown'])).stdout).toContain('| `reward.beta` |');
  });
});

describe('run', () => {
  it('turns flags into the run that they ask for', async () => {
    const flags = {
      name: 'n1',
      seed: 7,
      threads: 2,
      device: 'webgpu',
      runsDir: folder,
      set: ['sft.updates=30'],
    } as const;
    const { config, ...rest } = await runRequest(configPath, flags);
    expect(rest).toEqual({ name: 'n1', ifTaken: 'refuse', runsFolder: folder });
    expect(config).toMatchObject({ seed: 7, threads: 2, sft: { updates: 30 } });
    expect([config.attacker.device, config.encoder.device, config.target.device]).toEqual([
      'webgpu',
      'webgpu',
      'webgpu',
    ]);
    expect(JSON.stringify(config.judges)).not.toContain('webgpu');
  });

  it('names a run by its config or its file, numbered when taken; --device adds none where a target has none', async () => {
    const plain = { runsDir: folder, set: [] };
    expect(await runRequest(configPath, plain)).toMatchObject({ name: 'mine', ifTaken: 'number' });
    const named = await runRequest(configPath, { ...plain, set: ['name=chosen'] });
    expect(named).toMatchObject({ name: 'chosen', ifTaken: 'number' });
    const scripted = 'target={kind: scripted, rules: [], otherwise: [no]}';
    const { config } = await runRequest(configPath, { ...plain, set: [scripted], device: 'webgpu' });
    expect(config.target).not.toHaveProperty('device');
  });

  it('refuses flags out of range before anything starts', async () => {
    const runsDir = join(folder, 'runs');
    for (const [flags, message] of [
      [['--seed', 'x'], 'expected a whole number'],
      [['--device', 'tpu'], 'Allowed choices are'],
      [['--threads', '0'], 'expected a whole number of at least 1'],
      [['--set', 'sft.updates=none'], 'sft.updates: got "none"'],
    ] as const) {
      const { code, stderr } = await cli(['run', configPath, ...flags, '--runs-dir', runsDir]);
      expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(message) });
    }
    for (const [args, message] of [
      [['resume', 'nothing'], 'no such run'],
      [['sample', 'x', '--temperature', '0'], 'expected a number above 0'],
      [['evaluate', 'x', '--stage', 'sfft'], 'Allowed choices are'],
    ] as const) {
      const { code, stderr } = await cli([...args, '--runs-dir', runsDir]);
      expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(message) });
    }
    expect(existsSync(runsDir)).toBe(false);
  });
});

describe('exit codes', () => {
  /** A program of one command that ends with `error`. */
  const failing =
    (error: Error) =>
    ({ write }: ProgramParts) => {
      const program = createBareProgram('floodgate', write);
      program.command('work').action(() => {
        throw error;
      });
      return program;
    };

  it('are 130 for an interrupt and 1 for a failure', async () => {
    const interrupted = new FloodgateError('interrupted', 'run: stopped after update 3', {
      hint: 'floodgate resume x',
    });
    expect(await cli(['work'], {}, failing(interrupted))).toEqual({
      code: 130,
      stdout: '',
      stderr: expect.stringMatching(/^stopped: run: stopped after update 3\nhint: floodgate resume x\n$/),
    });
    expect((await cli(['work'], {}, failing(new TypeError('a fault')))).code).toBe(1);
    expect((await cli(['work'], {}, failing(new FloodgateError('store', 's')))).code).toBe(1);
  });
});
