import { runProcess } from '../src/cli/process.ts';
import { createLabProgram } from './registry.ts';

// Alone it lists the experiments.
if (process.argv.length === 2) process.argv.push('--help');
await runProcess(createLabProgram);
