import { z } from 'zod';
import { ApiError } from '../serve/api-error.ts';

/** A filter that was left empty is none. */
export const filled = <T extends z.ZodType>(schema: T) =>
  z.preprocess((value) => (value === '' ? undefined : value), schema.optional());

/** A number of a query, as text. */
export const count = (most: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/)
    .transform(Number)
    .pipe(z.number().max(most));

/** A query that can say no more than that texts are to be shown. */
const showQuery = z.strictObject({ show: filled(z.literal('1')) });

/** @throws ApiError 400 for a key twice, an unknown key or a bad value. */
export function parseQuery<T extends z.ZodType>(schema: T, given: URLSearchParams): z.infer<T> {
  const keys = [...given.keys()];
  const result = schema.safeParse(Object.fromEntries(given));
  if (result.success && new Set(keys).size === keys.length) return result.data;
  const name = String(result.error?.issues[0]?.path[0] ?? 'a key');
  throw new ApiError(400, `the query is wrong: ${name}`, { code: 'bad_query' });
}

/** Whether a request asks to show texts. @throws ApiError 400. */
export const asksToShow = (given: URLSearchParams): boolean => parseQuery(showQuery, given).show === '1';
