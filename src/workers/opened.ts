import type { z } from 'zod';
import { FloodgateError } from '../base/errors.ts';

/** A value that is opened at the first request. A failed opening is tried again by the next one. */
export class Opened<T extends { close(): Promise<unknown> }> {
  private opening: Promise<T> | undefined;
  private readonly open: () => Promise<T>;

  constructor(open: () => Promise<T>) {
    this.open = open;
  }

  get(): Promise<T> {
    this.opening ??= this.open();
    this.opening.catch(() => {
      this.opening = undefined;
    });
    return this.opening;
  }

  async close(): Promise<void> {
    const opened = await this.opening?.catch(() => undefined);
    this.opening = undefined;
    await opened?.close();
  }
}

/** @throws FloodgateError `target` where this worker has other weights than whoever opened them first. */
export function requireWeights(what: string, got: string | null, expected: string | null): void {
  if (got === expected) return;
  throw new FloodgateError('target', `${what}: this worker has other weights, got ${got}, expected ${expected}`, {
    hint: 'every worker of a run needs the same models: floodgate models list shows their hashes',
  });
}

/** @throws FloodgateError `config` for a section that its schema refuses. */
export function parseSection<T>(schema: z.ZodType<T>, value: unknown, name: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const key = [name, ...(issue?.path ?? [])].join('.');
  throw new FloodgateError('config', `open ${key}: ${issue?.message ?? 'invalid'}`, {
    hint: 'learner and workers must be of one version of Floodgate',
  });
}
