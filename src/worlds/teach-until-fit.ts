import { admissionProblems, targetError, type WorldTruth } from './world-truth.ts';

/**
 * Teaches a target, then gives it at most `most` further lessons until its world can be admitted. Each starts from the
 * best target so far, for a further lesson can also make a target worse. Returns the target that fits, else the best.
 *
 * @param teach gives lesson 0, from random weights, or a further lesson to `from`, and measures the world after it.
 */
export async function teachUntilFit<T extends { readonly truth: WorldTruth }>(
  teach: (lesson: number, from: T | undefined) => Promise<T>,
  most: number,
): Promise<T> {
  let best = await teach(0, undefined);
  for (let lesson = 1; lesson <= most && admissionProblems(best.truth).length > 0; lesson++) {
    const taught = await teach(lesson, best);
    const isFit = admissionProblems(taught.truth).length === 0;
    if (isFit || targetError(taught.truth) < targetError(best.truth)) best = taught;
  }
  return best;
}
