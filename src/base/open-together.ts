/** A session, or anything made of sessions. */
interface Closable {
  close(): Promise<void>;
}

/**
 * Opens several things at once: all of them or none. When one fails, the others are closed as soon as they are open,
 * and the first failure in the order of the list is thrown.
 */
export async function openTogether<const T extends readonly Closable[]>(
  openings: {
    readonly [K in keyof T]: () => Promise<T[K]>;
  },
): Promise<T> {
  const opened = await Promise.allSettled(openings.map(async (open: () => Promise<Closable>) => open()));
  const failed = opened.find((each) => each.status === 'rejected');
  if (failed === undefined)
    return opened.map((each) => (each as PromiseFulfilledResult<Closable>).value) as unknown as T;
  const rest = opened.filter((each) => each.status === 'fulfilled');
  await Promise.allSettled(rest.map(({ value }) => value.close()));
  throw failed.reason;
}

/** Returns what `make` makes of things that were opened for it; closes them when it throws. */
export async function makeOrClose<T>(opened: readonly Closable[], make: () => T | Promise<T>): Promise<T> {
  try {
    return await make();
  } catch (error) {
    await Promise.allSettled(opened.map((each) => each.close()));
    throw error;
  }
}
