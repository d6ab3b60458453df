import { describe, expect, it } from 'vitest';
import { createTerminalProgress, formatDuration } from '../../src/cli/terminal-progress.ts';

function setup(isTTY: boolean, columns = 100) {
  let text = '';
  const clock = { ms: 0 };
  const stream = {
    isTTY,
    columns,
    write: (piece: string) => {
      text += piece;
    },
  };
  const progress = createTerminalProgress(stream, () => clock.ms);
  const take = (): string => {
    const taken = text;
    text = '';
    return taken;
  };
  return { progress, clock, take };
}

describe('on a terminal', () => {
  it('draws bar, counts, ETA and note on one line', () => {
    const { progress, clock, take } = setup(true);
    const work = progress.start('gflownet', 100, 'updates');
    work.update(1);
    take();
    clock.ms = 10_000;
    work.update(25, 'loss 1.50');
    expect(take()).toBe('\r\u001b[2Kgflownet  [=====               ]  25%  25/100 updates  ETA 0:30  loss 1.50');
    work.update(26); // too soon to draw again
    expect(take()).toBe('');
    clock.ms = 40_000;
    work.update(100);
    take();
    work.finish();
    expect(take()).toMatch(/100% {2}100\/100 updates {2}0:40 {2}loss 1\.50\n$/);
  });

  it('counts the speed of resumed work from where it began', () => {
    const { progress, clock, take } = setup(true);
    const work = progress.start('x', 100, 'updates');
    work.update(50);
    clock.ms = 10_000;
    take();
    work.update(60);
    expect(take()).toContain('ETA 0:40');
  });

  it('keeps to the width and obeys no control character of a note', () => {
    const { progress, take } = setup(true, 40);
    progress.start('pull', undefined, 'bytes').update(12_345_678, `\u001b[31m\n${'x'.repeat(100)}`);
    const line = take().replace('\r\u001b[2K', '');
    expect(line).toContain('12.3 MB');
    expect(line).not.toMatch(/\p{Cc}/u);
    expect([...line]).toHaveLength(39);
  });

  it('leaves the bar out of a narrow terminal, which has room for the counts', () => {
    const { progress, take } = setup(true, 60);
    progress.start('try the seeds', 100, 'harmless prompts').update(25);
    expect(take()).toBe('\r\u001b[2Ktry the seeds  25/100 harmless prompts');
  });

  it('can be taken off the screen', () => {
    const { progress, take } = setup(true);
    progress.clear();
    expect(take()).toBe('\r\u001b[2K');
  });
});

describe('in a log', () => {
  it('writes the last line of a stage once', () => {
    const { progress, clock, take } = setup(false);
    const work = progress.start('sft', 2, 'updates');
    work.update(1);
    clock.ms = 20_000;
    work.update(2);
    work.finish();
    expect(take()).toMatch(/^sft: 1\/2 [^\n]*\nsft: 2\/2 updates {2}0:20 {2}done\n$/);
  });

  it('writes few plain lines', () => {
    const { progress, clock, take } = setup(false);
    const work = progress.start('gflownet', 1000, 'updates');
    for (let update = 1; update <= 1000; update++) {
      clock.ms += 25;
      work.update(update, `asr ${update / 1000}`);
    }
    work.finish();
    const lines = take().trimEnd().split('\n');
    expect(lines).toHaveLength(4);
    expect(lines.at(-1)).toBe('gflownet: 1,000/1,000 updates  0:25  asr 1  done');
    expect(lines.join('')).not.toContain('\u001b');
  });
});

it.each([
  [0, '0:00'],
  [61_000, '1:01'],
  [3_723_000, '1:02:03'],
])('writes %d ms as %s', (ms, text) => expect(formatDuration(ms)).toBe(text));

it.each([
  [true, '\r\u001b[2K'],
  [false, ''],
])('says a line that stays, in place of the bar: terminal %s', (isTTY, before) => {
  const { progress, take } = setup(isTTY);
  progress.start('gflownet', 100, 'updates').update(1);
  take();
  progress.say?.('world 102\u001b[2J is refused\nfine');
  expect(take()).toBe(`${before}world 102\\u{1b}[2J is refused\\nfine\n`);
});
