import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
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
    );
    listeners.get('SIGINT')?.();
    expect(interrupt.signal.aborted).toBe(true);
    expect(exits).toEqual([]);
    listeners.get('SIGTERM')?.();
    expect({ told: told.length, exits }).toEqual({ told: 1, exits: [130] });
    interrupt.dispose();
    expect(listeners.size).toBe(0);
  });
});
