import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMMAND_WORDS } from '../../src/cli/command-words.ts';
import { type CompiledSource, compileSource } from '../support/compiled-source.ts';

let compiled: CompiledSource;
beforeAll(() => {
  compiled = compileSource();
});
afterAll(() => compiled?.remove());

/** Runs the command line, and lists the files that the process loaded, as V8 reports them. */
function loadedBy(...args: readonly string[]) {
  const folder = mkdtempSync(path.join(tmpdir(), 'floodgate-start-up-'));
  try {
    const main = path.join(compiled.folder, 'cli', 'main.js');
    const env = { ...process.env, NODE_V8_COVERAGE: folder };
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { env, encoding: 'utf8' });
    const files = readdirSync(folder).flatMap((name) => {
      const { result } = JSON.parse(readFileSync(path.join(folder, name), 'utf8')) as { result: { url: string }[] };
      return result.map(({ url }) => url).filter((url) => url.startsWith('file:'));
    });
    return { status, text: stdout + stderr, files };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('the start of the command line', () => {
  it('names every command, and loads none of them for the help', () => {
    const { status, text, files } = loadedBy('--help');
    expect(status).toBe(0);
    for (const [name, words] of Object.entries(COMMAND_WORDS)) {
      expect(text).toMatch(new RegExp(`^  ${name} .*${words.slice(0, 20)}`, 'm'));
    }
    const own = files.filter((url) => url.startsWith(pathToFileURL(compiled.folder).href));
    expect(own.length).toBeGreaterThan(5);
    expect(own.length).toBeLessThan(30);
    expect(files.filter((url) => /onnxruntime|libsql|zod|undici/.test(url))).toEqual([]);
  });

  it('loads the command that is called, also behind an option with a value, and for its help', () => {
    for (const args of [
      ['rm', '--help'],
      ['--cache-dir', 'show', 'rm', '--help'],
      ['help', 'rm'],
    ]) {
      const { status, text, files } = loadedBy(...args);
      expect(status).toBe(0);
      expect(text).toContain('Usage: floodgate rm [options]');
      expect(files.some((url) => url.endsWith('runs-commands.js'))).toBe(true);
      expect(files.some((url) => url.endsWith('show-command.js'))).toBe(false);
    }
  });

  it('knows a command that it did not load', () => {
    const { status, text } = loadedBy('shwo', 'run');
    expect(status).toBe(2);
    expect(text).toContain('Did you mean show?');
  });
});
