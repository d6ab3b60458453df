import { resolve } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // The examples import the package by its name; tests run them on the source.
  resolve: {
    alias: [
      { find: /^floodgate$/, replacement: resolve(import.meta.dirname, 'src/index.ts') },
      { find: 'floodgate/engine', replacement: resolve(import.meta.dirname, 'src/engine/index.ts') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/support/own-temp-folder.ts'],
    // Two cores: one worker keeps the engine's own threads from fighting each other.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 300_000,
  },
});
