import { alignColumns, printResult } from '../../src/cli/command-output.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { WORKERS } from './simulated-scaling.ts';

/** Measured costs of an update whose attacks workers draw: one search an update. */
export interface SearchSimulationOptions {
  /** Fresh attacks of one update. */
  readonly batch: number;
  /** Time of a worker to draw one attack, and to ask the reference about it, ms. */
  readonly draw: number;
  /** Time until a target has answered all attacks of a search, ms. */
  readonly answers: number;
  /** Adapter that is published, in megabytes, and time of the learner to publish one of them, ms. */
  readonly adapter: number;
  readonly publish: number;
  /** The learner's own work of an update, ms. */
  readonly update: number;
  /** Searches under way at most. */
  readonly depth: number;
}

/** Searches at once of a worker: the next one is drawn while one waits for answers. */
const AT_ONCE = 2;
/** Updates of the simulation; the first ones fill the pipeline. */
const UPDATES = 400;

/** One worker: it draws one search after the other, and waits for the answers of at most two. */
class Searching {
  drawnMs = 0;
  private readonly ends: number[] = [];

  get freeMs(): number {
    return Math.max(this.drawnMs, this.ends.at(-AT_ONCE) ?? 0);
  }

  /** When the search that came then is over. */
  search(atMs: number, drawMs: number, answersMs: number): number {
    this.drawnMs = Math.max(atMs, this.freeMs) + drawMs;
    this.ends.push(this.drawnMs + answersMs);
    return this.drawnMs + answersMs;
  }
}

/** Milliseconds of an update in the long run with so many workers. */
export function simulateSearches(workers: number, options: SearchSimulationOptions): number {
  const { batch, draw, answers, adapter, publish, update, depth } = options;
  const all = Array.from({ length: workers }, () => new Searching());
  const ends: number[] = [];
  let learnerMs = 0;
  for (let i = 0; i < UPDATES; i++) {
    learnerMs += adapter * publish;
    const free = all.reduce((best, each) => (each.freeMs < best.freeMs ? each : best));
    ends.push(free.search(learnerMs, batch * draw, answers));
    learnerMs = Math.max(learnerMs, ends[i - depth] ?? 0) + update;
  }
  return learnerMs / UPDATES;
}

/** `npm run lab -- queue simulate-searches`. */
export function reportSearchSimulation(options: SearchSimulationOptions, context: CliContext): void {
  const { batch, draw, adapter, publish, update } = options;
  const learnerMs = update + adapter * publish;
  const alone = update + batch * draw;
  const found = WORKERS.map((workers) => {
    const ms = simulateSearches(workers, options);
    return { workers, seconds: ms / 1000, speedUp: alone / ms, learnerBusy: learnerMs / ms };
  });
  const head = ['workers', 'seconds an update', 'times as fast as a learner that draws', 'learner busy'];
  const rows = found.map(({ workers, seconds, speedUp, learnerBusy }) => [
    String(workers),
    seconds.toFixed(2),
    speedUp.toFixed(2),
    learnerBusy.toFixed(2),
  ]);
  printResult(context, { text: alignColumns([head, ...rows]), json: { ...options, found } });
}
