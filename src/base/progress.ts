/** One running piece of work, reported to whoever draws it (a terminal bar, a JSON log, nobody). */
export interface Progress {
  /** `done` counts in the unit given at the start; `note` is the live line beside the bar. */
  update(done: number, note?: string): void;
  finish(note?: string): void;
}

export interface ProgressSink {
  /** `total` is undefined when it cannot be known; `unit` is what is counted, e.g. `bytes`, `updates`. */
  start(label: string, total: number | undefined, unit: string): Progress;
  /** One line that a person should know of and that stays, where there is anybody to read it. */
  say?(line: string): void;
}

export const silentProgress: ProgressSink = {
  start: () => ({ update: () => undefined, finish: () => undefined }),
};
