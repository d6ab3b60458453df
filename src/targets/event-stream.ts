/** Most events of one answer: stops a stream of millions of empty ones. */
const MAX_EVENTS = 100_000;

/** The mark by which many servers end a stream. It is no part of the answer. */
const DONE = '[DONE]';

export interface StreamEvent {
  /** `message` where the event has no name. */
  readonly name: string;
  readonly data: string;
}

/**
 * The server-sent events of a body that is whole, as the HTML standard reads them: lines `data:` of one event are joined
 * by newlines; comments, ids and events without data are left out.
 */
export function parseEventStream(body: string): StreamEvent[] {
  const events: StreamEvent[] = [];
  let lines: string[] = [];
  let name = 'message';
  const end = (): void => {
    const data = lines.join('\n');
    if (lines.length > 0 && data.trim() !== DONE && events.length < MAX_EVENTS) events.push({ name, data });
    lines = [];
    name = 'message';
  };
  for (const line of body.replace(/^\ufeff/, '').split(/\r\n|\r|\n/)) {
    if (line === '') end();
    else if (line === 'data') lines.push('');
    else if (line.startsWith('data:')) lines.push(line.slice(5).replace(/^ /, ''));
    else if (line.startsWith('event:')) name = line.slice(6).trim();
  }
  end();
  return events;
}
