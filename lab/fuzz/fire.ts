import { FloodgateError } from '../../src/base/errors.ts';
import { randomStream } from '../../src/base/random.ts';
import type { FuzzInput, FuzzTarget } from './fuzz-target.ts';

/** What one input did: `undefined` of `fault` is as it should be. */
export interface Shot {
  readonly outcome: 'parsed' | 'refused' | 'fault';
  readonly fault?: string;
}

/** Input number `index` of a target; the same for the same seed, everywhere. */
export function inputOf(target: FuzzTarget, seed: number, index: number): FuzzInput {
  return target.make(randomStream(seed, 'fuzz', target.name, index));
}

function faultOf(error: unknown, target: FuzzTarget): string | undefined {
  if (error instanceof FloodgateError) {
    return target.codes.includes(error.code) ? undefined : `error code ${error.code}: ${error.message.slice(0, 300)}`;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `not an error of ours: ${text.slice(0, 1_500)}`;
}

/** Parses one input and says whether the answer was a proper one. */
export async function fire(target: FuzzTarget, input: FuzzInput, folder: string): Promise<Shot> {
  let shot: Shot = { outcome: 'parsed' };
  try {
    await target.parse(input, folder);
  } catch (error) {
    const fault = faultOf(error, target);
    shot = fault === undefined ? { outcome: 'refused' } : { outcome: 'fault', fault };
  }
  try {
    target.check?.(folder);
  } catch (error) {
    return { outcome: 'fault', fault: String(error) };
  }
  return shot;
}
