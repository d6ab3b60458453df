import type { Command } from 'commander';
import { measureText, readRun } from '../report/run-overview.ts';
import { listRunFolders, type RunFolder } from '../runs/run-folder.ts';
import { alignColumns, printResult } from './command-result.ts';
import { addRunsOption, type RunsOptions } from './common-options.ts';
import type { CliContext } from './context.ts';

interface ListedRun {
  readonly name: string;
  readonly status: string;
  readonly createdAt: string | null;
  readonly stages: readonly string[];
  /** Of the last stage that has one. */
  readonly asr: string;
  /** Why a run could not be read; the others are listed all the same. */
  readonly problem?: string;
}

async function describeRun(folder: RunFolder): Promise<ListedRun> {
  try {
    return await readRun(folder, ({ status, manifest, report }) => {
      const stages = report?.stages ?? [];
      const measured = stages.findLast(({ metrics }) => metrics.asr !== undefined);
      return {
        name: folder.name,
        status,
        createdAt: manifest?.createdAt ?? null,
        stages: stages.map(({ name }) => name),
        asr: measureText(measured?.metrics.asr),
      };
    });
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    return { name: folder.name, status: 'unreadable', createdAt: null, stages: [], asr: '-', problem };
  }
}

function listText(runs: readonly ListedRun[], runsDir: string): string {
  if (runs.length === 0) return `no runs in ${runsDir}`;
  const rows = runs.map(({ name, status, createdAt, stages, asr, problem }) => [
    name,
    status,
    createdAt?.slice(0, 16).replace('T', ' ') ?? '-',
    problem ?? (stages.join(', ') || '-'),
    asr,
  ]);
  return alignColumns([['run', 'status', 'created', 'stages', 'ASR of the last'], ...rows]);
}

/** Adds `floodgate list`. */
export function registerListCommand(program: Command, context: CliContext): void {
  addRunsOption(program.command('list').description('list the runs with their status'))
    .addHelpText('after', '\nExamples:\n  floodgate list\n  floodgate list --json --runs-dir /data/runs')
    .action(async ({ runsDir }: RunsOptions) => {
      const runs = await Promise.all((await listRunFolders(runsDir)).map(describeRun));
      printResult(context, { text: listText(runs, runsDir), json: { runs } });
    });
}
