import { type CliIo, runCli } from '../../src/cli/run-cli.ts';

export interface CliOutcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one command line in this process and gives back all that it wrote; Floodgate's, unless `create` makes another. */
export async function cli(
  args: readonly string[],
  rest: Partial<CliIo> = {},
  create?: Parameters<typeof runCli>[2],
): Promise<CliOutcome> {
  const written = { stdout: '', stderr: '' };
  const sink = (name: 'stdout' | 'stderr') => ({
    write: (text: string) => {
      written[name] += text;
    },
  });
  const io = { stdout: sink('stdout'), stderr: sink('stderr'), signal: new AbortController().signal, ...rest };
  const code = await runCli(args, io, create);
  return { code, ...written };
}
