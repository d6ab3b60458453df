import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CompiledSource, compileSource } from '../../test/support/compiled-source.ts';

/**
 * The run lock between real PID namespaces, which only root may make (Linux). Without that right this file fails and says
 * so; `npm test` holds the same with the names of another namespace (`test/base/lock.test.ts`).
 */
let compiled: CompiledSource;
let folder: string;
let script: string;

beforeAll(() => {
  compiled = compileSource();
  folder = mkdtempSync(path.join(tmpdir(), 'floodgate-containers-'));
  script = path.join(compiled.folder, 'locks.mjs');
  writeFileSync(
    script,
    `import { acquireLock, withLock } from './base/lock.js';
     const [how, file, ms] = process.argv.slice(2);
     const hold = () => { console.log('got'); return new Promise((resolve) => setTimeout(resolve, Number(ms))); };
     if (how === 'wait') await withLock(file, {}, hold);
     else await acquireLock(file).then(async (lock) => { await hold(); await lock.release(); },
       ({ message }) => { console.log(message); process.exitCode = 3; });`,
  );
});
afterAll(() => {
  compiled.remove();
  rmSync(folder, { recursive: true });
});

const NEW_NAMESPACE = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
const inside = { outside: [], inside: NEW_NAMESPACE } as const;
type Side = keyof typeof inside;

function command(side: Side, how: 'take' | 'wait', file: string, ms: number): [string, string[]] {
  const [first = '', ...rest] = [...inside[side], process.execPath, script, how, file, `${ms}`];
  return [first, rest];
}

/** Holds the lock until it is killed. */
async function holder(side: Side, file: string): Promise<() => Promise<void>> {
  const child = spawn(...command(side, 'take', file, 600_000), { stdio: ['ignore', 'pipe', 'inherit'] });
  expect(String(await once(child.stdout, 'data'))).toMatch(/got/);
  return async () => {
    child.kill('SIGKILL');
    await once(child, 'close');
  };
}

const take = (side: Side, file: string): Promise<string> =>
  promisify(execFile)(...command(side, 'take', file, 0)).then(
    ({ stdout }) => stdout,
    ({ stdout }: { stdout: string }) => stdout,
  );

describe.each<[Side, Side]>([
  ['inside', 'outside'],
  ['outside', 'inside'],
  ['inside', 'inside'],
])('a lock held %s a PID namespace, asked for %s', (held, asked) => {
  test('holds, and is taken over at once when its process is killed', async () => {
    const file = path.join(folder, `${held}-${asked}`);
    const kill = await holder(held, file);
    expect(await take(asked, file)).toMatch(/in use by process \d+ in another container since/);
    await kill();
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ pidNamespace: expect.stringMatching(/^pid:/) });
    expect(await take(asked, file)).toBe('got\n');
  });

  test('is waited for, until its process is killed', async () => {
    const file = path.join(folder, `wait-${held}-${asked}`);
    const kill = await holder(held, file);
    const [name, args] = command(asked, 'wait', file, 0);
    const waiting = spawn(name, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let told = '';
    waiting.stdout.on('data', (chunk) => {
      told += String(chunk);
    });
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    expect(told).toBe('');
    await kill();
    await once(waiting, 'close');
    expect(told).toBe('got\n');
  });
});
