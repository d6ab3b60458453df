import type { QueueEvents } from 'bullmq';

/** Told of jobs: of all in the queue, those of other runs among them. */
export interface EventListeners {
  completed(jobId: string, value: unknown): void;
  failed(jobId: string, reason: string): void;
  /** A job was added that is there already. */
  duplicated(jobId: string): void;
  /** Its worker says how far it is. */
  progressed(jobId: string, value: unknown): void;
}

/**
 * Events of a queue. BullMQ's reader waits for seconds after each error of its connection, so a new one takes its place
 * when Redis is back, and continues behind the last event that was read.
 */
export class EventsFeed {
  private readonly open: (lastEventId: string) => QueueEvents;
  private readonly listeners: EventListeners;
  private lastId: string;
  private events: QueueEvents;

  /** @param lastId event behind which the feed begins. */
  constructor(open: (lastEventId: string) => QueueEvents, lastId: string, listeners: EventListeners) {
    this.open = open;
    this.lastId = lastId;
    this.listeners = listeners;
    this.events = this.follow();
  }

  private follow(): QueueEvents {
    const events = this.open(this.lastId);
    const seen = (id: string): void => {
      if (events === this.events) this.lastId = id;
    };
    events.on('error', () => undefined); // of the connection
    events.on('completed', ({ jobId, returnvalue }, id) => {
      seen(id);
      this.listeners.completed(jobId, returnvalue);
    });
    events.on('failed', ({ jobId, failedReason }, id) => {
      seen(id);
      this.listeners.failed(jobId, failedReason);
    });
    events.on('duplicated', ({ jobId }, id) => {
      seen(id);
      this.listeners.duplicated(jobId);
    });
    events.on('progress', ({ jobId, data }, id) => {
      seen(id);
      this.listeners.progressed(jobId, data);
    });
    return events;
  }

  /** The connection is back. Events may come twice: none is missed. */
  renew(): void {
    const old = this.events;
    this.events = this.follow();
    old.close().catch(() => undefined);
  }

  async close(): Promise<void> {
    await this.events.close();
  }

  async disconnect(): Promise<void> {
    await this.events.disconnect();
  }
}
