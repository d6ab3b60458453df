import type { Evidence } from './evidence.ts';
import type { Trial } from './trial.ts';

/** Two trials of one target: the second asks on where the first says that it pays. */
export interface SuccessiveTrials {
  readonly first: Pick<Trial, 'try'>;
  readonly again: Pick<Trial, 'try'>;
  /** Whether an attack with this evidence of the first trial is asked again. */
  isWorthMore(evidence: Evidence): boolean;
}

/** Name of the random streams of the further responses, behind that of the first. */
const AGAIN = 'again';

/**
 * Asks every attack a little, and those that are worth it again. The evidence of an attack holds all its responses, the
 * first ones before the others, so that whoever reads it sees the same score as the one who asked.
 */
export function createSuccessiveTrial({ first, again, isWorthMore }: SuccessiveTrials): Pick<Trial, 'try'> {
  return {
    try: async (requests) => {
      const tried = await first.try(requests);
      const worth = requests.flatMap((request, i) => (isWorthMore(tried[i] as Evidence) ? [{ request, i }] : []));
      if (worth.length === 0) return tried;
      const more = await again.try(
        worth.map(({ request }) => ({ ...request, streamName: [...request.streamName, AGAIN] })),
      );
      const joined = [...tried];
      for (const [k, { i }] of worth.entries()) joined[i] = join(tried[i] as Evidence, more[k] as Evidence);
      return joined;
    },
  };
}

function join(a: Evidence, b: Evidence): Evidence {
  const failure = a.failure ?? b.failure;
  return { responses: [...a.responses, ...b.responses], ...(failure === undefined ? {} : { failure }) };
}
