import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FloodgateError } from '../../src/base/errors.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';
import { openFrom } from './open-target.ts';
import { asking, describeTargetContract, textsOf } from './target-contract.ts';

let folder: string;
let files = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-command-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A program that calls `answer(question, say)` for each line, and notes each start in `starts`. */
const PROGRAM = `
import { appendFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
const say = (answer) => process.stdout.write(JSON.stringify(answer) + '\\n');
appendFileSync(process.argv[2], 'start\\n');
const answer = ({ id, attack, seed }) => {
  if (attack.includes('please refuse')) return say({ id, refused: 'no way' });
  if (attack.includes('break down')) return say({ id, error: 'no idea' });
  if (attack.includes('crash')) { console.error('out of memory'); process.exit(3); }
  if (attack.includes('wait for ever')) return;
  if (attack.includes('talk')) return process.stdout.write('just a moment\\n');
  if (attack.includes('slowly')) return setTimeout(() => say({ id, text: 'slow' }), 30);
  if (attack.includes('without id')) return say({ text: 'mine' });
  say({ id, text: attack.length + ' ' + (seed % 10), usage: { tokens: 3 } });
};
createInterface({ input: process.stdin }).on('line', (line) => answer(JSON.parse(line)));
`;

async function open(changes: Record<string, unknown> = {}, code = PROGRAM) {
  const file = join(folder, `program-${files++}.mjs`);
  const starts = `${file}.starts`;
  await writeFile(file, code);
  const command = [process.execPath, file, starts];
  const { target, facts } = await openFrom({ kind: 'command', command, ...changes });
  const startsOf = async () => (existsSync(starts) ? (await readFile(starts, 'utf8')).split('\n').length - 1 : 0);
  return { target, facts, starts: startsOf };
}

const FATES = { refused: 'please refuse', failed: 'break down' };
for (const concurrency of [1, 4])
  describeTargetContract(
    `command target, ${concurrency} at once`,
    async () => (await open({ concurrency })).target,
    FATES,
  );

const request = (attack: string) => ({ attack, streamName: ['t'] });

describe('a command target', () => {
  it('gives up on a program whose own child keeps its pipes open', async () => {
    const { target } = await open(
      { timeoutSeconds: 1, restarts: 0 },
      `
      import { spawn } from 'node:child_process';
      import { createInterface } from 'node:readline';
      createInterface({ input: process.stdin }).on('line', (line) => {
        const { id, attack } = JSON.parse(line);
        if (attack.includes('hang')) spawn('sleep', ['20'], { stdio: 'inherit' });
        else console.log(JSON.stringify({ id, text: 'hello' }));
      });
      `,
    );
    const began = performance.now();
    expect(await target.ask([request('hang')], asking(1))).toMatchObject([
      [{ kind: 'failed', reason: expect.stringContaining('no answer within 1 s') as string }],
    ]);
    await target.close();
    expect(performance.now() - began).toBeLessThan(10_000);
  });

  it('sees that a program has ended, although its own child keeps its pipes open', async () => {
    const { target } = await open(
      { timeoutSeconds: 100, restarts: 5 },
      `
      import { spawn } from 'node:child_process';
      import { createInterface } from 'node:readline';
      createInterface({ input: process.stdin }).on('line', (line) => {
        const { id, attack } = JSON.parse(line);
        if (attack.includes('leave')) spawn('sleep', ['20'], { stdio: 'inherit' }).once('spawn', () => process.exit(3));
        else console.log(JSON.stringify({ id, text: 'hello' }));
      });
      `,
    );
    const began = performance.now();
    expect(await target.ask([request('leave')], asking(1))).toMatchObject([
      [{ kind: 'failed', reason: 'it ended with code 3' }],
    ]);
    await target.close();
    expect(performance.now() - began).toBeLessThan(15_000);
  });

  it('keeps its program running, and starts it again when it has ended', async () => {
    const { target, starts } = await open();
    await target.ask([request('a'), request('b')], asking(2));
    await target.ask([request('a')], asking(2));
    expect(await starts()).toBe(2); // the check, and the run
    const [before, crashed, after] = await target.ask([request('a'), request('crash'), request('b')], asking(1));
    expect(textsOf(before)).toHaveLength(1);
    expect(textsOf(after)).toHaveLength(1);
    expect(crashed).toEqual([
      { kind: 'failed', reason: 'it ended with code 3: out of memory', usage: { calls: 1, tokens: 0 } },
    ]);
    expect(await starts()).toBe(4); // the question was asked once more; `b` starts it again
    await target.close();
  });

  it('asks what was under way once more when another question ended the program', async () => {
    const { target } = await open({ concurrency: 4, restarts: 20 });
    const attacks = ['slowly', 'crash', 'slowly', 'crash', 'slowly', 'slowly', 'crash', 'slowly'];
    const answers = await target.ask(attacks.map(request), asking(1));
    expect(answers.flat().map((answer) => (answer.kind === 'text' ? 'slowly' : 'crash'))).toEqual(attacks);
    await target.close();
  });

  it('gives the reason of a failure: an error, no JSON, no answer in time', async () => {
    const { target } = await open({ timeoutSeconds: 5 });
    const reasonOf = async (attack: string) => {
      const [[answer] = []] = await target.ask([request(attack)], asking(1));
      return answer?.kind === 'failed' && answer.reason;
    };
    expect(await reasonOf('break down')).toBe('it answered the error no idea');
    expect(await reasonOf('talk')).toBe('it answered just a moment, expected JSON');
    expect(await reasonOf('wait for ever')).toBe('no answer within 5 s');
    expect(await target.ask([request('without id')], asking(1))).toMatchObject([[{ kind: 'text', text: 'mine' }]]);
    await target.close();
  });

  it('stops the work when its program ends again and again', async () => {
    const { target, starts } = await open({ restarts: 2 });
    const crashes = Array.from({ length: 9 }, () => request('crash'));
    await expect(target.ask(crashes, asking(1))).rejects.toMatchObject({
      code: 'target',
      message: expect.stringMatching(/ended 3 times without an answer: it ended with code 3: out of memory/) as string,
    });
    expect(await starts()).toBe(4);
    await target.close();
  });

  it('hears an abort, and does not take the late answer for that to the next question', async () => {
    const { target } = await open();
    const controller = new AbortController();
    const call = target.ask([request('slowly')], asking(1, { signal: controller.signal }));
    setTimeout(() => controller.abort(), 10);
    await expect(call).rejects.toMatchObject({ code: 'interrupted' });
    expect(textsOf((await target.ask([request('ab')], asking(1)))[0])[0]).toMatch(/^2 /);
    await target.close();
  });

  it('counts the paths in its command from the config file', () => {
    const text = minimalConfigText.replace(
      /target:\n.*\n.*\n/,
      'target: { kind: command, command: [node, ./my.mjs, x] }\n',
    );
    const { target } = parseConfig(text, { fileName: 'f', folder: '/some/where' });
    expect(target.command).toEqual(['node', '/some/where/my.mjs', 'x']);
  });

  const REFUSALS: [string, string, RegExp][] = [
    ['ends at once', 'process.exit(7)', /it ended with code 7/],
    ['answers no JSON', 'process.stdin.on("data", () => console.log("hello"))', /it answered hello, expected JSON/],
    ['answers without a text', 'process.stdin.on("data", () => console.log("{}"))', /which holds no text/],
  ];
  it.each(REFUSALS)('is refused before any work when its program %s', async (_name, code, message) => {
    const error = (await open({}, code).catch((caught: unknown) => caught)) as FloodgateError;
    expect(error).toMatchObject({ code: 'target', hint: expect.stringContaining('JSON object a line') as string });
    expect(error.message).toMatch(message);
  });

  it('is refused before any work when there is no such program', async () => {
    const config = { kind: 'command', command: ['floodgate-no-such-program'] };
    await expect(openFrom(config)).rejects.toMatchObject({
      message: expect.stringMatching(/cannot be started/) as string,
    });
  });
});
