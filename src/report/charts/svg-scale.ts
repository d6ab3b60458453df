/** Maps numbers to coordinates along one side of a chart. */
export interface Scale {
  readonly low: number;
  readonly high: number;
  place(value: number): number;
}

/** A scale from [low, high] to [from, to]; a range without extent maps to the middle. */
export function linearScale(low: number, high: number, from: number, to: number): Scale {
  const extent = high - low;
  return {
    low,
    high,
    place: (value) => (extent === 0 ? (from + to) / 2 : from + ((value - low) / extent) * (to - from)),
  };
}

/** About `count` round numbers (1, 2 or 5 times a power of ten apart) inside [low, high]. */
export function roundTicks(low: number, high: number, count: number): number[] {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5].find((factor) => factor * power >= raw) ?? 10) * power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** A coordinate with one decimal: nobody sees a finer one, and the file stays small. */
export function coordinate(value: number): string {
  return String(Math.round(value * 10) / 10);
}

/** The next number above `most` that has one digit that is not 0, or half of one more: 51 -> 55, 3 -> 4, 120 -> 150. */
export function roundEnd(most: number): number {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  const step = power === 1 ? 1 : power / 2;
  return (Math.floor(most / step) + 1) * step;
}
