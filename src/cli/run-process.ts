import { listenForInterrupt } from './interrupt.ts';
import { type CliIo, runCli } from './run-cli.ts';

/**
 * Runs the command line of this process, with its streams and its Ctrl-C, and sets its exit code.
 *
 * @param create makes the program; Floodgate's own when absent.
 */
export async function runProcess(
  { campaign }: Pick<CliIo, 'campaign'> = {},
  create?: Parameters<typeof runCli>[2],
): Promise<void> {
  // A reader that goes away (`floodgate list | head`) is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  const interrupt = listenForInterrupt(process, (text) => void process.stderr.write(`\n${text}\n`));
  const io = { stdout: process.stdout, stderr: process.stderr, signal: interrupt.signal };
  process.exitCode = await runCli(process.argv.slice(2), campaign === undefined ? io : { ...io, campaign }, create);
  interrupt.dispose();
}
