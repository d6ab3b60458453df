import { defineConfig } from 'vitest/config';

/** Checks of real models whose licence has to be accepted first: `npm run lab -- golden check`. */
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['lab/golden/*.golden.ts'],
    pool: 'forks',
    maxWorkers: 1,
    disableConsoleIntercept: true,
    testTimeout: 1_800_000,
    hookTimeout: 1_800_000,
  },
});
