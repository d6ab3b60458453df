import { monotonicMs } from '../base/clock.ts';
import type { Progress, ProgressSink } from '../base/progress.ts';
import { printable, printableWithin } from './command-output.ts';

/** The part of a terminal (or a log) that progress needs. */
export interface ProgressStream {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

export interface TerminalProgress extends ProgressSink {
  /** Removes the bar from the screen for other text; the next update draws it again. */
  clear(): void;
}

const REDRAW_MS = 100;
/** A log gets a line at most this often. */
const LOG_LINE_MS = 10_000;
const BAR_WIDTH = 20;
const DEFAULT_COLUMNS = 80;
/** A narrower terminal has room for the counts, not for a bar. */
const BAR_COLUMNS = 72;
const CLEAR_LINE = '\r\u001b[2K';

const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

function formatAmount(amount: number, unit: string): string {
  if (unit !== 'bytes') return amount.toLocaleString('en-US', { maximumFractionDigits: 0 });
  let value = amount;
  let step = 0;
  for (; value >= 1000 && step < BYTE_UNITS.length - 1; step++) value /= 1000;
  return `${value.toFixed(step === 0 ? 0 : 1)} ${BYTE_UNITS[step]}`;
}

/** `1:02:03`, `2:03` */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const pad = (value: number) => String(value).padStart(2, '0');
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours > 0 ? `${hours}:${pad(minutes)}:${pad(seconds % 60)}` : `${minutes}:${pad(seconds % 60)}`;
}

/** `2 days 3 h`, `1 h 2 min`, `20 min`, `40 s`: an estimate in two units at most. */
export function durationWords(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  if (minutes === 0) return `${Math.max(1, Math.round(ms / 1000))} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  return `${days} ${days === 1 ? 'day' : 'days'}${hours % 24 === 0 ? '' : ` ${hours % 24} h`}`;
}

interface Work {
  readonly label: string;
  readonly total: number | undefined;
  readonly unit: string;
  readonly startMs: number;
  /** Resumed work begins above 0; its speed counts from there. */
  firstDone: number | undefined;
  done: number;
  note: string;
}

function describe(work: Work, now: number): string {
  const { total, unit, done, startMs } = work;
  const amount = formatAmount(done, unit);
  const unitName = unit === 'bytes' ? '' : ` ${unit}`;
  const elapsed = now - startMs;
  if (total === undefined) return `${amount}${unitName}  ${formatDuration(elapsed)}`;
  const speed = (done - (work.firstDone ?? 0)) / elapsed;
  const eta = speed > 0 ? `  ETA ${formatDuration((total - done) / speed)}` : '';
  return `${amount}/${formatAmount(total, unit)}${unitName}${done < total ? eta : `  ${formatDuration(elapsed)}`}`;
}

function bar({ total, done }: Work): string {
  if (total === undefined || total <= 0) return '';
  const share = Math.min(1, Math.max(0, done / total));
  const filled = Math.round(share * BAR_WIDTH);
  return `[${'='.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}] ${String(Math.floor(share * 100)).padStart(3)}%  `;
}

/** Shared by both drawings: counts, and calls `draw` at most every `intervalMs`, always at the end. */
function createSink(
  intervalMs: number,
  draw: (work: Work, now: number, isLast: boolean) => void,
  clockMs: () => number,
  skipsFull: (work: Work) => boolean = () => false,
): ProgressSink {
  return {
    start: (label, total, unit): Progress => {
      const work: Work = { label, total, unit, startMs: clockMs(), firstDone: undefined, done: 0, note: '' };
      let drawnMs = Number.NEGATIVE_INFINITY;
      const show = (note: string | undefined, isLast: boolean): void => {
        work.note = note ?? work.note;
        const now = clockMs();
        if (!isLast && (now - drawnMs < intervalMs || skipsFull(work))) return;
        drawnMs = now;
        draw(work, now, isLast);
      };
      return {
        update: (done, note) => {
          work.firstDone ??= done > 1 ? done : 0;
          work.done = done;
          show(note, false);
        },
        finish: (note) => show(note, true),
      };
    },
  };
}

/** Returns progress drawn as one live line: label, bar, counts, ETA, note. The finished line stays. */
function createBar(stream: ProgressStream, clockMs: () => number): TerminalProgress {
  const draw = (work: Work, now: number, isLast: boolean): void => {
    const width = (stream.columns || DEFAULT_COLUMNS) - 1;
    const text = `${work.label}  ${width < BAR_COLUMNS ? '' : bar(work)}${describe(work, now)}${work.note === '' ? '' : `  ${work.note}`}`;
    stream.write(`${CLEAR_LINE}${printableWithin(text, width)}${isLast ? '\n' : ''}`);
  };
  return {
    ...createSink(REDRAW_MS, draw, clockMs),
    say: (line) => void stream.write(`${CLEAR_LINE}${printable(line)}\n`),
    clear: () => void stream.write(CLEAR_LINE),
  };
}

/** Returns progress as plain lines, few of them, for logs. */
function createLog(stream: ProgressStream, clockMs: () => number): TerminalProgress {
  const draw = (work: Work, now: number, isLast: boolean): void => {
    const note = work.note === '' ? '' : `  ${work.note}`;
    stream.write(`${printable(`${work.label}: ${describe(work, now)}${note}${isLast ? '  done' : ''}`)}\n`);
  };
  return {
    // The line of `finish` says the same.
    ...createSink(LOG_LINE_MS, draw, clockMs, ({ done, total }) => done === total),
    say: (line) => void stream.write(`${printable(line)}\n`),
    clear: () => undefined,
  };
}

/** Returns a bar on a terminal, log lines elsewhere. `clockMs` is monotonic. */
export function createTerminalProgress(stream: ProgressStream, clockMs: () => number = monotonicMs): TerminalProgress {
  return stream.isTTY ? createBar(stream, clockMs) : createLog(stream, clockMs);
}
