import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';

/** Sizes that every decoder family has. */
export interface DecoderShape {
  readonly vocabSize: number;
  /** D: width of the residual stream. */
  readonly width: number;
  /** L */
  readonly layers: number;
  /** H: query heads. */
  readonly heads: number;
  /** Key/value heads; equals `heads` without grouped-query attention. */
  readonly kvHeads: number;
  /** K: width of one head. */
  readonly headWidth: number;
  readonly feedForwardWidth: number;
  readonly maxPositions: number;
  readonly normEpsilon: number;
  readonly tiedEmbeddings: boolean;
}

/** A size of 2^50, which makes every later product overflow; no real model comes near this bound. */
export const modelSize = z
  .int()
  .min(1)
  .max(2 ** 24);
export const epsilon = z.number().positive().max(1);

/** Why no decoder of this family has such heads, or undefined when one can; the same for every kind of model file. */
export function headProblem(
  shape: Pick<DecoderShape, 'width' | 'heads' | 'kvHeads' | 'headWidth'> & { readonly family: string },
): string | undefined {
  const { family, width, heads, kvHeads, headWidth } = shape;
  if (heads % kvHeads !== 0) return `${heads} heads cannot share ${kvHeads} key/value heads evenly`;
  if (family !== 'gpt2')
    return headWidth % 2 === 0 ? undefined : `head width is ${headWidth}, expected an even number to rotate`;
  if (kvHeads !== heads) return 'gpt2 with fewer key/value heads than heads is not supported';
  return heads * headWidth === width
    ? undefined
    : `${heads} heads of width ${headWidth} do not make a width of ${width}`;
}

/** The operation that the errors of a config.json name. */
export const READ_CONFIG = 'read config.json';

/** The error of a config.json that asks for a feature which no family here computes. */
export function unsupported(what: string): FloodgateError {
  return new FloodgateError('format', `${READ_CONFIG}: ${what}`);
}
