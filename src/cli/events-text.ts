import type { StoredEvent } from '../runs/store/records.ts';
import { printable } from './printable.ts';

const SHOWN_EVENTS = 10;

/** The last warnings and errors of a run, each a line that begins with a line break; empty when there are none. */
export function eventsText(events: readonly StoredEvent[]): string {
  const told = events.filter(({ level }) => level !== 'info').slice(-SHOWN_EVENTS);
  return told
    .map(({ level, stage, message }) => `\n${level}${stage === undefined ? '' : ` in ${stage}`}: ${printable(message)}`)
    .join('');
}
