import { defineConfig } from 'vitest/config';

/** Runs that take too long for `npm test`; `npm run lab -- queue faults` and `queue searches` start them. */
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['lab/queue/*.faults.ts', 'lab/queue/*.measured.ts'],
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    disableConsoleIntercept: true,
    testTimeout: 4 * 3_600_000,
    hookTimeout: 1_800_000,
  },
});
