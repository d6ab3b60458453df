import { defineConfig } from 'vitest/config';

/** The proofs that take too long for `npm test`; `npm run lab -- durability` runs them one after the other. */
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['lab/durability/*.durability.ts'],
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    disableConsoleIntercept: true,
    testTimeout: 4 * 3_600_000,
    hookTimeout: 3_600_000,
  },
});
