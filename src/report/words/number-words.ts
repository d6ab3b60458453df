import type { Report } from '../figures/report-json.ts';

export type ReportMeasure = Report['stages'][number]['metrics'][string];
export type NumberForm = 'share' | 'count' | 'number';

/** In place of a number that is not known. */
export const UNKNOWN = '–';

/** `56%`; one decimal below 10% and above 99%, where whole percents hide too much. */
export function percentText(share: number): string {
  const percent = share * 100;
  const isNearEdge = (percent > 0 && percent < 9.95) || (percent > 99 && percent < 100);
  return `${isNearEdge ? percent.toFixed(1) : percent.toFixed(0)}%`;
}

/** Three significant digits, with commas between thousands. */
export function plainNumber(value: number): string {
  const size = Math.abs(value);
  if (Number.isInteger(value) || size >= 1000) return Math.round(value).toLocaleString('en-US');
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

export function numberText(value: number | null, form: NumberForm): string {
  if (value === null) return UNKNOWN;
  if (form === 'share') return percentText(value);
  return form === 'count' ? Math.round(value).toLocaleString('en-US') : plainNumber(value);
}

/** `50–62%`, or undefined where the measure has no interval. */
export function intervalText({ low, high }: ReportMeasure, form: NumberForm): string | undefined {
  if (low === null || high === null) return undefined;
  const [from, to] = [numberText(low, form), numberText(high, form)];
  return `${from.replace('%', '')}–${to}`;
}

/** `95% interval`, as wide as the measure says. */
export function confidenceText({ confidence }: ReportMeasure): string {
  return typeof confidence === 'number' ? `${percentText(confidence).replace('.0', '')} interval` : 'interval';
}

/** `1 h 20 min`, `3 min 5 s`, `12 s`. */
export function secondsText(seconds: number): string {
  const whole = Math.round(seconds);
  const minutes = Math.round(whole / 60);
  if (minutes >= 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return whole >= 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole} s`;
}

/** `1 attack`, `3 attacks`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString('en-US')} ${count === 1 ? one : many}`;
}

/** `0.46 [0.40, 0.52]` for a table of plain text; `-` for an unknown value. */
export function measureText(measure: ReportMeasure | undefined, digits?: number): string {
  if (measure?.value === null || measure === undefined) return '-';
  const { value, low, high } = measure;
  const round = (number: number) =>
    digits === undefined && Number.isInteger(number) ? String(number) : number.toFixed(digits ?? 3);
  return low === null || high === null ? round(value) : `${round(value)} [${round(low)}, ${round(high)}]`;
}
