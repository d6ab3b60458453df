import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

/**
 * Every test file, with its child processes, has a folder for temporary files of its own. It is removed with all that the
 * tests left there, after their own hooks: those of a setup file end last.
 */
const VARIABLES = ['TMPDIR', 'TEMP'] as const;
const before = VARIABLES.map((name) => [name, process.env[name]] as const);
const folder = mkdtempSync(join(tmpdir(), 'floodgate-tests-'));
chmodSync(folder, 0o755); // some tests start a process as another user
for (const name of VARIABLES) process.env[name] = folder;

afterAll(() => {
  for (const [name, value] of before) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
});
