import type { RunFolder } from '../runs/run-folder.ts';
import { stages } from '../stages/registry.ts';
import { readRun } from './run-overview.ts';

/** A run as a list shows it. */
export interface ListedRun {
  readonly name: string;
  readonly status: string;
  readonly createdAt: string | null;
  readonly stages: readonly string[];
  readonly seed: number | null;
  /** The last measured attacker, and its success rate; those drawn from the truth itself are no attackers. */
  readonly attacker: string | null;
  readonly asr: {
    readonly value: number | null;
    readonly low: number | null;
    readonly high: number | null;
    readonly n: number;
  } | null;
  /** The reason why the run could not be read. The others are listed all the same. */
  readonly problem?: string;
}

/** True of a stage that is drawn from the truth of a world. A stage of another version is an attacker. */
function isGiven(name: string): boolean {
  return stages.names().includes(name) && stages.get(name).knowsTarget === 'given';
}

/** Never fails: a run that cannot be read is `unreadable`, with the reason. */
export async function describeRun(folder: RunFolder): Promise<ListedRun> {
  try {
    return await readRun(folder, ({ status, manifest, report }) => {
      const stages = report?.stages ?? [];
      const measured = stages.findLast(({ name, metrics }) => metrics.asr !== undefined && !isGiven(name));
      const asr = measured?.metrics.asr;
      return {
        name: folder.name,
        status,
        createdAt: manifest?.createdAt ?? null,
        stages: stages.map(({ name }) => name),
        seed: manifest?.seed ?? null,
        attacker: measured?.name ?? null,
        asr: asr === undefined ? null : { value: asr.value, low: asr.low, high: asr.high, n: asr.n },
      };
    });
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    const unknown = { createdAt: null, stages: [], seed: null, attacker: null, asr: null };
    return { name: folder.name, status: 'unreadable', ...unknown, problem };
  }
}
