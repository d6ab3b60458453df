import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runChild } from '../../lab/child-process.ts';
import { CHECKED_MODELS, goldenScripts } from '../../lab/golden/golden-command.ts';
import { EXPERIMENTS } from '../../lab/registry.ts';
import { packageFile } from '../../src/base/package-root.ts';
import { lab } from './lab-runner.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-lab-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('the list of experiments', () => {
  it('has a line for each, with its description', async () => {
    const { code, stdout } = await lab(['--help']);
    expect(code).toBe(0);
    const flat = stdout.replace(/\s+/g, ' ');
    for (const { name, description } of EXPERIMENTS) {
      expect(flat).toMatch(new RegExp(`${name} (\\[options\\] )?`));
      expect(flat).toContain(description);
    }
    expect(stdout).toContain('Usage: npm run lab --');
  });

  it.each(EXPERIMENTS.map(({ name }) => name))('%s has help with an example', async (name) => {
    const { code, stdout } = await lab([name, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain(`Examples:\n  npm run lab -- ${name}`);
  });

  it('names the nearest experiment for one that it does not know', async () => {
    const { code, stderr } = await lab(['clams']);
    expect(code).toBe(2);
    expect(stderr).toContain('Did you mean claims?');
  });

  it('leaves no experiment among the commands of Floodgate', () => {
    expect(readFileSync(packageFile('package.json'), 'utf8')).toContain('"build:lab": "tsc -p lab/tsconfig.json"');
    const shipped = readdirSync(packageFile('src'), { recursive: true, encoding: 'utf8' });
    const importing = shipped.filter(
      (file) => file.endsWith('.ts') && /from '[./]*\/lab\//.test(readFileSync(packageFile(`src/${file}`), 'utf8')),
    );
    expect(importing).toEqual([]);
  });
});

describe('options', () => {
  it.each([
    ['search', '--trials'],
    ['search', '--worlds'],
    ['claims', '--seeds'],
    ['ablate', '--seeds'],
  ])('%s %s 0 is refused before any work', async (command, option) => {
    const { code, stderr } = await lab([command, option, '0', '--runs-dir', folder]);
    expect(code).toBe(2);
    expect(stderr).toContain('at least 1');
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('an experiment', () => {
  it('runs: the sampler nears the exact posterior of an enumerable world', async () => {
    const { code, stdout, stderr } = await lab(['enumerable', '--seed', '5', '--updates', '60', '--json']);
    expect(code, stderr).toBe(0);
    const measured = JSON.parse(stdout);
    expect(measured).toMatchObject({ attacks: 155, seed: 5, objective: 'tb', size: 'small' });
    expect(measured.totalVariation).toBeLessThan(measured.referenceTotalVariation / 2);
    expect(Number.isFinite(measured.logZError)).toBe(true);
  });

  it('golden lists every Python script, each with what it makes', async () => {
    const { code, stdout } = await lab(['golden']);
    expect(code).toBe(0);
    const scripts = goldenScripts();
    expect(scripts.map(({ name }) => name)).toContain('training_step');
    expect(scripts.map(({ name }) => name)).not.toContain('encoding');
    for (const { name, path, summary } of scripts) {
      expect(stdout).toContain(`${name} `);
      expect(existsSync(packageFile(path))).toBe(true);
      expect(summary.length, name).toBeGreaterThan(20);
    }
    expect((await lab(['golden', 'adams'])).code).toBe(2);
  });

  it('golden check knows the models that have golden values and a check', async () => {
    for (const model of CHECKED_MODELS) {
      expect(existsSync(packageFile(`lab/golden/${model}.golden.ts`))).toBe(true);
      expect(existsSync(packageFile(`test/golden/models/${model}.json`))).toBe(true);
    }
    const { code, stderr } = await lab(['golden', 'check', 'gemma4']);
    expect(code).toBe(2);
    expect(stderr).toContain('gemma3-270m');
  });
});

describe('a program that an experiment runs', () => {
  const node = (script: string) => ({ name: 'proof', command: process.execPath, args: ['-e', script] });
  const signal = new AbortController().signal;

  it('fails with its exit code, and names what cannot be started', async () => {
    await expect(runChild(node(''), { signal })).resolves.toBeUndefined();
    await expect(runChild(node('process.exit(3)'), { signal })).rejects.toMatchObject({
      code: 'run',
      message: 'proof: failed with exit code 3',
    });
    const missing = { name: 'proof', command: join(folder, 'none'), args: [], hint: 'install it' };
    await expect(runChild(missing, { signal })).rejects.toMatchObject({ code: 'run', hint: 'install it' });
  });

  it('is ended by an interrupt', async () => {
    const controller = new AbortController();
    const running = runChild(node('setInterval(() => undefined, 1000)'), { signal: controller.signal });
    setTimeout(() => controller.abort(), 200);
    await expect(running).rejects.toMatchObject({ code: 'interrupted' });
  });
});
