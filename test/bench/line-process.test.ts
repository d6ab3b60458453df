import { afterEach, describe, expect, it } from 'vitest';
import { LineProcess } from '../../bench/line-process.ts';

const open: LineProcess[] = [];

function start(script: string): LineProcess {
  const child = new LineProcess(process.execPath, ['-e', script]);
  open.push(child);
  return child;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((child) => child.close()));
});

const ECHO = `
  console.log('a library says hello');
  console.log(JSON.stringify({ ready: 'echo' }));
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const { run } = JSON.parse(line);
    if (run === 9) { console.error('Traceback\\nValueError: nine'); process.exit(3); }
    console.log(JSON.stringify({ run, seconds: run * 2 }));
  });`;

describe('LineProcess', () => {
  it('tells when it is ready and answers each run', async () => {
    const child = start(ECHO);
    expect(await child.ready).toEqual({ ready: 'echo' });
    expect(await child.run(1)).toEqual({ run: 1, seconds: 2 });
    expect(await child.run(2)).toEqual({ run: 2, seconds: 4 });
  });

  it('rejects with the last line of stderr when the child dies, and at every later run', async () => {
    const child = start(ECHO);
    await child.ready;
    await expect(child.run(9)).rejects.toThrow('exit code 3): ValueError: nine');
    await expect(child.run(1)).rejects.toThrow('ValueError: nine');
  });

  it('rejects when the child never says that it is ready, or cannot be started', async () => {
    await expect(start('process.exit(1)').ready).rejects.toThrow('exit code 1');
    const absent = new LineProcess('/nonexistent-program', []);
    open.push(absent);
    await expect(absent.ready).rejects.toThrow('could not be started');
  });

  it('rejects an answer that is not JSON', async () => {
    await expect(start("console.log('{broken')").ready).rejects.toThrow('not JSON');
  });
});
