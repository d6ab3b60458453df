import type { RuntimeSession } from './worker-session.ts';

/** One runtime session, and how many hold it. */
interface SharedSession {
  readonly session: Promise<RuntimeSession>;
  holders: number;
}

const shared = new Map<string, SharedSession>();

/** How many runtime sessions are open, or being opened. */
export function openSessionCount(): number {
  return shared.size;
}

/**
 * Returns the runtime's session for `key`, opened by `create` when nobody holds it yet. Those who open one model with
 * the same settings compute in one session: it keeps nothing between runs, and its repacked weights are there once. It
 * is released when its last holder releases it.
 *
 * @param key the model's content and every setting of the session.
 * @throws as `create`; then the next caller tries again.
 */
export async function holdSession(key: string, create: () => Promise<RuntimeSession>): Promise<RuntimeSession> {
  const entry = shared.get(key) ?? { session: create(), holders: 0 };
  shared.set(key, entry);
  entry.holders++;
  const leave = (): boolean => {
    entry.holders--;
    if (entry.holders > 0) return false;
    if (shared.get(key) === entry) shared.delete(key);
    return true;
  };
  try {
    const session = await entry.session;
    return {
      inputNames: session.inputNames,
      outputNames: session.outputNames,
      run: (feeds, fetches) => (fetches === undefined ? session.run(feeds) : session.run(feeds, fetches)),
      release: async () => {
        if (leave()) await session.release();
      },
    };
  } catch (error) {
    leave();
    throw error;
  }
}
