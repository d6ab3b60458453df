/** A value that moves linearly from `from` to `to` over the first `updates` updates and then stays. */
export interface LinearSchedule {
  readonly from: number;
  readonly to: number;
  readonly updates: number;
}

/** The schedule's value at `update`, counted from 0. */
export function scheduleAt({ from, to, updates }: LinearSchedule, update: number): number {
  return update >= updates ? to : from + ((to - from) * update) / updates;
}
