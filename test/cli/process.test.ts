import { type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listenForInterrupt } from '../../src/cli/process.ts';
import { type CompiledSource, compileSource } from '../support/compiled-source.ts';

let compiled: CompiledSource;
beforeAll(() => {
  compiled = compileSource();
});
afterAll(() => compiled.remove());

describe('the floodgate process', () => {
  it('ends with the exit code of its command', async () => {
    const main = join(compiled.folder, 'cli/main.js');
    const codeOf = async (...args: string[]) =>
      (await once(spawn(process.execPath, [main, ...args], { stdio: 'ignore' }), 'close'))[0];
    expect(await codeOf('config', 'schema')).toBe(0);
    expect(await codeOf('lst')).toBe(2);
  });

  it('survives a reader that goes away', async () => {
    const main = join(compiled.folder, 'cli/main.js');
    const child = spawn(process.execPath, [main, 'config', 'schema'], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    expect((await once(child, 'close'))[0]).toBe(0);
  });

  it.each(['stdout', 'stderr'] as const)(
    'keeps the exit code of a failure when the reader of %s goes away',
    async (gone) => {
      const main = join(compiled.folder, 'cli/main.js');
      for (const flags of [[], ['--json']]) {
        const child = spawn(process.execPath, [main, 'show', 'nosuch', ...flags], {
          stdio: ['ignore', 'pipe', 'pipe'],
        });
        child[gone].destroy();
        child.stdout.resume();
        child.stderr.resume();
        expect((await once(child, 'close'))[0]).toBe(2);
      }
    },
  );

  it('works to its end, with its own exit code, after both readers went away', async () => {
    const script = join(compiled.folder, 'writes.mjs');
    writeFileSync(
      script,
      `import { writeFileSync } from 'node:fs';
       import { setTimeout as sleep } from 'node:timers/promises';
       import { FloodgateError } from './base/errors.js';
       import { runProcess } from './cli/process.js';
       const [done, outcome] = process.argv.slice(2);
       await runProcess(({ context }) => ({
         name: () => 'writes',
         parseAsync: async () => {
           for (let update = 0; update < 40; update++) {
             context.progress.start('train', 40, 'updates').finish('a note'.repeat(1000));
             context.out('a line'.repeat(1000));
             await sleep(2);
           }
           writeFileSync(done, 'done');
           if (outcome === 'fails') throw new FloodgateError('run', 'it failed');
         },
       }));`,
    );
    for (const [outcome, code] of [
      ['works', 0],
      ['fails', 1],
    ] as const) {
      const done = join(compiled.folder, `${outcome}.txt`);
      const child = spawn(process.execPath, [script, done, outcome], { stdio: ['ignore', 'pipe', 'pipe'] });
      child.stdout.once('data', () => child.stdout.destroy());
      child.stderr.once('data', () => child.stderr.destroy());
      expect((await once(child, 'close'))[0]).toBe(code);
      expect(readFileSync(done, 'utf8')).toBe('done');
    }
  });

  it.runIf(existsSync('/dev/full'))(
    'fails at its end when its output could not be written, not when its log could not',
    async () => {
      const main = join(compiled.folder, 'cli/main.js');
      const full = openSync('/dev/full', 'w');
      const ends = async (args: readonly string[], stdio: StdioOptions) =>
        (await once(spawn(process.execPath, [main, ...args], { stdio }), 'close'))[0];
      expect(await ends(['config', 'schema'], ['ignore', full, 'ignore'])).toBe(1);
      expect(await ends(['show', 'nosuch', '--json'], ['ignore', full, 'ignore'])).toBe(2);
      expect(await ends(['show', 'nosuch'], ['ignore', 'ignore', full])).toBe(2);
      closeSync(full);
    },
  );

  it('stops cleanly at the first Ctrl-C and at once at the second', async () => {
    const script = join(compiled.folder, 'waits.mjs');
    writeFileSync(
      script,
      `import { listenForInterrupt } from './cli/process.js';
       const { signal } = listenForInterrupt(process, (text) => console.log(text));
       const timer = setInterval(() => undefined, 1000);
       signal.addEventListener('abort', () => process.argv[2] === 'clean' && clearInterval(timer));
       console.log('ready');`,
    );
    const run = async (mode: 'clean' | 'stubborn') => {
      const child = spawn(process.execPath, [script, mode], { stdio: ['ignore', 'pipe', 'inherit'] });
      const interrupt = () => child.kill('SIGINT');
      if (mode === 'clean') child.stdout.once('data', interrupt);
      else child.stdout.on('data', interrupt); // when it is ready, and again when it says that it stops
      child.stdout.resume();
      return (await once(child, 'close'))[0];
    };
    expect(await run('clean')).toBe(0);
    expect(await run('stubborn')).toBe(130);
  });

  it.skipIf(process.platform === 'win32')('stops cleanly when its terminal closes', async () => {
    const script = join(compiled.folder, 'hangs-up.mjs');
    writeFileSync(
      script,
      `import { listenForInterrupt } from './cli/process.js';
       const { signal } = listenForInterrupt(process, (text) => console.log(text));
       setTimeout(() => process.exit(signal.aborted ? 7 : 0), 500);
       console.log('ready');`,
    );
    const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
    child.stdout.once('data', () => {
      child.kill('SIGHUP');
      setTimeout(() => child.kill('SIGHUP'), 100); // the shell and the kernel may both send one
    });
    expect(await once(child, 'close')).toEqual([7, null]);
  });
});

describe('listenForInterrupt', () => {
  it('aborts first, exits second, and lets go of the signals', () => {
    const listeners = new Map<string, () => void>();
    const told: string[] = [];
    const exits: number[] = [];
    const interrupt = listenForInterrupt(
      {
        on: (signal, listener) => listeners.set(signal, listener),
        off: (signal) => listeners.delete(signal),
        exit: (code) => exits.push(code),
      },
      (text) => told.push(text),
      () => 'floodgate resume x',
    );
    expect([...listeners.keys()]).toEqual(['SIGINT', 'SIGTERM', 'SIGHUP']);
    listeners.get('SIGINT')?.();
    expect(interrupt.signal.aborted).toBe(true);
    expect(exits).toEqual([]);
    listeners.get('SIGTERM')?.();
    expect({ told, exits }).toEqual({
      told: [
        'stopping after the step in hand; press Ctrl-C again to end now',
        'ended at once; what was stored is kept\ncontinue: floodgate resume x',
      ],
      exits: [130],
    });
    interrupt.dispose();
    expect(listeners.size).toBe(0);
  });
});
