import { monotonicMs } from '../base/clock.ts';
import type { ProgressSink } from '../base/progress.ts';
import type { TargetStatus } from '../targets/target.ts';
import type { Spent } from './call-log.ts';
import type { MeterCounts } from './call-meter.ts';

/** The calls of a run, as the live line shows them. */
export interface CallState {
  readonly counts: MeterCounts;
  readonly spent: Spent;
  /** Undefined where no price is given. */
  readonly currency: string | undefined;
  readonly status: TargetStatus;
}

/** How often the live line is drawn again while nothing else changes it. */
const TICK_MS = 1000;
/** The rate is that of the last so many ticks. */
const RATE_TICKS = 20;

const whole = (count: number): string => count.toLocaleString('en-US', { maximumFractionDigits: 0 });

/** `1,204 calls, 31.0/s, 8 of 16 at once, 3x 429, 0.42 USD`; those of earlier starts count in calls and money. */
export function callNote({ counts, spent, currency, status }: CallState, perSecond: number): string {
  const parts = [
    `${whole(spent.targetCalls)} calls`,
    `${perSecond.toFixed(1)}/s`,
    `${status.underWay} of ${status.atOnce} at once`,
    ...(status.rateLimited === 0 ? [] : [`${whole(status.rateLimited)}x 429`]),
    ...(counts.found === 0 ? [] : [`${whole(counts.found)} from the log`]),
    ...(currency === undefined ? [] : [`${spent.money.toFixed(2)} ${currency}`]),
  ];
  return parts.join(', ');
}

/** The calls of a while ago, for their rate. */
class Rate {
  private readonly marks: { readonly ms: number; readonly calls: number }[] = [];

  perSecond(calls: number): number {
    const now = { ms: monotonicMs(), calls };
    const last = this.marks.at(-1);
    if (last === undefined || now.ms - last.ms >= TICK_MS) this.marks.push(now);
    if (this.marks.length > RATE_TICKS) this.marks.shift();
    const first = this.marks[0] as (typeof this.marks)[number];
    return now.ms === first.ms ? 0 : (1000 * (now.calls - first.calls)) / (now.ms - first.ms);
  }
}

/** Progress whose live line also says how the calls go. It is drawn once a second: a batch may take minutes. */
export function withCallNotes(sink: ProgressSink, state: () => CallState): ProgressSink {
  const rate = new Rate();
  const join = (note: string | undefined): string => {
    const now = state();
    const calls = callNote(now, rate.perSecond(now.spent.targetCalls));
    return note === undefined || note === '' ? calls : `${note}, ${calls}`;
  };
  const start: ProgressSink['start'] = (label, total, unit) => {
    const progress = sink.start(label, total, unit);
    let done = 0;
    let note: string | undefined;
    let isBegun = false;
    const timer = setInterval(() => {
      if (isBegun) progress.update(done, join(note));
    }, TICK_MS);
    timer.unref();
    return {
      update: (now, own) => {
        done = now;
        note = own ?? note;
        isBegun = true;
        progress.update(now, join(note));
      },
      finish: (own) => {
        clearInterval(timer);
        progress.finish(join(own ?? note));
      },
    };
  };
  return { ...sink, start };
}
