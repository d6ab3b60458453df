import Database from 'libsql';
import type { Kill } from '../../test/stages/killed-run.ts';

/** Kills by the section in which the process was last seen. */
export function countBySection(kills: readonly Kill[], sections: readonly string[]): Map<string, number> {
  return new Map(sections.map((label) => [label, kills.filter(({ section }) => section === label).length]));
}

/** Calls that a run made again, from their own table. */
export function repeatedCallsOf(databasePath: string): { rows: number; targetCalls: number; judgeCalls: number } {
  const db = new Database(databasePath);
  try {
    const [rows = 0, targetCalls = 0, judgeCalls = 0] = db
      .prepare('SELECT count(*), coalesce(sum(target_calls), 0), coalesce(sum(judge_calls), 0) FROM repeated_calls')
      .raw()
      .get() as number[];
    return { rows, targetCalls, judgeCalls };
  } finally {
    db.close();
  }
}
