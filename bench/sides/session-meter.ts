import { monotonicMs } from '../../src/base/clock.ts';
import { GraphSession } from '../../src/engine/runtime/session.ts';

/** Seconds inside the runtime since the last `take`, by the first word of the session's label (prefill, decode, ...). */
export interface SessionMeter {
  take(): Record<string, number>;
}

/** Times every run of every session of this process: what is left of a side's seconds is JavaScript. */
export function meterSessions(): SessionMeter {
  let seconds: Record<string, number> = {};
  const run = GraphSession.prototype.run;
  GraphSession.prototype.run = async function (this: GraphSession, feeds, fetches) {
    const start = monotonicMs();
    try {
      return await run.call(this, feeds, fetches);
    } finally {
      const name = this.label.split(' ', 1)[0] ?? '';
      seconds[name] = (seconds[name] ?? 0) + (monotonicMs() - start) / 1000;
    }
  };
  return {
    take: () => {
      const taken = seconds;
      seconds = {};
      return taken;
    },
  };
}
