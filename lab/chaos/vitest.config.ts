import { defineConfig } from 'vitest/config';

/** The chaos that takes too long for `npm test`; `npm run lab -- chaos` runs it. */
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['lab/chaos/*.chaos.ts'],
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    disableConsoleIntercept: true,
    testTimeout: 2 * 3_600_000,
    hookTimeout: 600_000,
  },
});
