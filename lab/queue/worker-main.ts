import { runProcess } from '../../src/cli/process.ts';

// Floodgate's own command line, for the worker processes of this experiment: the lab compiles what it imports.
await runProcess();
