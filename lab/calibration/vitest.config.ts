import { defineConfig } from 'vitest/config';

/** Calibrations take minutes: `npm run lab -- calibration`; a sample of them is part of `npm test`. */
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['lab/calibration/*.calibration.ts'],
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    disableConsoleIntercept: true,
    testTimeout: 3_600_000,
  },
});
