import { FloodgateError } from '../../../src/base/errors.ts';
import { gemma, gemmaOnSmollm2, smollm2OnGemma } from './families.ts';
import type { Ground } from './ground.ts';
import { language } from './language.ts';
import { made } from './made.ts';
import { smollm2 } from './smollm2.ts';
import { smollm2Masked } from './smollm2-masked.ts';

/** Every ground, in the order in which they are measured. */
export const GROUNDS: readonly Ground[] = [
  made,
  language,
  smollm2,
  smollm2Masked,
  smollm2OnGemma,
  gemmaOnSmollm2,
  gemma,
];

/** @throws FloodgateError `usage` for a name that no ground has. */
export function groundNamed(name: string): Ground {
  const found = GROUNDS.find((ground) => ground.name === name);
  if (found !== undefined) return found;
  throw new FloodgateError('usage', `claims: got the ground ${name}`, {
    hint: `choose of ${GROUNDS.map((ground) => ground.name).join(', ')}`,
  });
}
