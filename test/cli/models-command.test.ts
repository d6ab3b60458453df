import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cacheSlotOf, writeManifest } from '../../src/models/sources/model-cache.ts';
import { modelFixture } from '../support/model-fixture.ts';
import { cli } from './cli-runner.ts';

let cacheDir: string;
beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'floodgate-models-'));
});
afterEach(() => rm(cacheDir, { recursive: true, force: true }));

describe('floodgate models', () => {
  it('lists the catalogue, saying what was not tried', async () => {
    const { code, stdout } = await cli(['models', 'list', '--cache-dir', cacheDir]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^NAME +ROLE +STATE +SIZE +LICENCE +WHAT$/m);
    expect(stdout).toMatch(/^smollm2-135m-instruct +decoder +missing .*Q4_1$/m);
    expect(stdout).toMatch(/^gpt2 .*\(not tried here\)$/m);
    expect(stdout).toMatch(/^tox-block +judge +built in/m);
    const { models } = JSON.parse((await cli(['models', 'list', '--json', '--cache-dir', cacheDir])).stdout);
    expect(models[0]).toMatchObject({ name: 'smollm2-135m-instruct', state: 'missing', isTriedHere: true });
  });

  it('prints the path and the files of a model that is there', async () => {
    const path = await modelFixture('minilm');
    expect((await cli(['models', 'path', 'minilm'])).stdout).toBe(`${path}\n`);
    const pulled = JSON.parse((await cli(['models', 'pull', 'minilm', '--json'])).stdout);
    expect(pulled.models).toMatchObject([{ name: 'all-minilm-l6-v2', path }]);
    expect((await cli(['models', 'verify', 'minilm'])).stdout).toBe('all-minilm-l6-v2  9 files are right\n');
  });

  it('answers a missing model with the command that brings it', async () => {
    for (const command of ['path', 'verify', 'rm']) {
      const { code, stderr } = await cli(['models', command, 'gpt2', '--cache-dir', cacheDir]);
      expect(code).toBe(1);
      expect(stderr).toContain('hint: floodgate models pull gpt2');
    }
  });

  it('says which file of which model is damaged, as one JSON object too, and removes it', async () => {
    const { folder } = cacheSlotOf(cacheDir, 'hf:openai-community/gpt2');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'config.json'), '{}');
    const files = [{ name: 'config.json', sha256: '0'.repeat(64), bytes: 2 }];
    await writeManifest(folder, { spec: 'hf:openai-community/gpt2', origin: 'a commit', files });
    const { code, stdout } = await cli(['models', 'verify', '--json', '--cache-dir', cacheDir]);
    expect(code).toBe(1);
    expect(JSON.parse(stdout).error).toMatchObject({
      message: expect.stringContaining('gpt2: config.json: sha256 differs'),
      hint: 'floodgate models pull gpt2',
    });
    expect((await cli(['models', 'rm', 'gpt2', '--cache-dir', cacheDir])).stdout).toBe('removed gpt2\n');
    expect((await cli(['models', 'verify', '--cache-dir', cacheDir])).stdout).toBe('the model cache is empty\n');
  });

  it('answers a mistyped name as bad usage', async () => {
    const { code, stderr } = await cli(['models', 'pull', 'gtp2', '--cache-dir', cacheDir]);
    expect(code).toBe(2);
    expect(stderr).toContain('perhaps gpt2');
  });

  it.each(['list', 'pull', 'path', 'verify', 'rm'])('shows examples for %s', async (command) => {
    expect((await cli(['models', command, '--help'])).stdout).toContain(`floodgate models ${command}`);
  });
});
