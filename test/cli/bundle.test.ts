import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundlePrograms, type CompiledSource } from '../support/compiled-source.ts';
import { makeRun } from '../view/viewed.ts';
import { cli } from './cli-runner.ts';

let compiled: CompiledSource;
let parent: string;
const node = (...args: readonly string[]): string => execFileSync(process.execPath, args, { encoding: 'utf8' });
const main = (): string => join(compiled.folder, 'cli/main.js');
const joined = (): string[] =>
  [join(compiled.folder, 'chunks'), compiled.folder].flatMap((folder) =>
    readdirSync(folder, { encoding: 'utf8' })
      .filter((name) => name.endsWith('.js'))
      .map((name) => readFileSync(join(folder, name), 'utf8')),
  );

beforeAll(async () => {
  compiled = bundlePrograms();
  parent = mkdtempSync(join(tmpdir(), 'floodgate-bundle-'));
  for (const name of ['before', 'after']) await makeRun(parent, name);
});
afterAll(() => {
  compiled?.remove();
  rmSync(parent, { recursive: true, force: true });
});

/** The first whole JSON object that a process prints. */
async function firstJson(child: ChildProcess): Promise<Record<string, string>> {
  let printed = '';
  for await (const part of child.stdout ?? []) {
    printed += part;
    try {
      return JSON.parse(printed) as Record<string, string>;
    } catch {} // not whole yet
  }
  throw new Error(`printed ${printed}`);
}

describe('the bundled program', () => {
  it('says what the sources say', async () => {
    const args = ['show', 'before', '--runs-dir', parent];
    expect(node(main(), ...args)).toBe((await cli(args)).stdout);
  });

  it('has each class once: a module of the user throws the errors that a command knows', () => {
    const definitions = joined().flatMap((text) => text.match(/FloodgateError ?= ?class\b/g) ?? []);
    expect(definitions).toHaveLength(1);
    const script = `
      const { FloodgateError, openTarget } = await import(${JSON.stringify(join(compiled.folder, 'index.js'))});
      await openTarget({ kind: 'nothing' }).catch((error) => console.log(error instanceof FloodgateError));`;
    expect(node('--input-type=module', '-e', script)).toBe('true\n');
  });

  it('carries the licence of the package that it holds, and none other of the packages', () => {
    expect(readFileSync(join(compiled.folder, 'chunks/zod.LICENSE'), 'utf8')).toMatch(/MIT License/);
    for (const name of ['commander', 'libsql']) expect(joined().join('\n')).toMatch(new RegExp(`from ?"${name}"`));
    expect(joined().join('\n')).not.toMatch(/from ?"zod"/);
  });

  it('finds the programs that it starts', async () => {
    const child = spawn(process.execPath, [main(), 'view', '--json', '--runs-dir', parent], { stdio: 'pipe' });
    try {
      const [base = '', token] = ((await firstJson(child)).url ?? '').split('/#token=');
      const headers = { origin: base };
      const begun = await fetch(`${base}/api/session`, { method: 'POST', body: JSON.stringify({ token }), headers });
      const cookie = begun.headers.get('set-cookie')?.split(';')[0] ?? '';
      let compared = { isDone: false };
      while (!compared.isDone) {
        const answer = await fetch(`${base}/api/compare?run=before&run=after`, { headers: { cookie } });
        expect(answer.status).toBe(200);
        compared = (await answer.json()) as { isDone: boolean };
      }
      expect(compared).toMatchObject({ runs: [{ name: 'before' }, { name: 'after' }] });
    } finally {
      child.kill();
    }
  });
});
