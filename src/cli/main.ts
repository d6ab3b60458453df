#!/usr/bin/env node
import { campaignActions } from './campaign-actions.ts';
import { listenForInterrupt } from './interrupt.ts';
import { runCli } from './run-cli.ts';

// A reader that goes away (`floodgate list | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const interrupt = listenForInterrupt(process, (text) => void process.stderr.write(`\n${text}\n`));
process.exitCode = await runCli(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  signal: interrupt.signal,
  campaign: campaignActions,
});
interrupt.dispose();
