import { readdirSync } from 'node:fs';
import path from 'node:path';
import Database from 'libsql';
import type { Kill } from '../../test/stages/killed-run.ts';

/** Kills by the section in which the process was last seen. */
export function countBySection(kills: readonly Kill[], sections: readonly string[]): Map<string, number> {
  return new Map(sections.map((label) => [label, kills.filter(({ section }) => section === label).length]));
}

/** Calls that the runs in a folder made again, from their own tables. */
export function repeatedCallsOf(folder: string): { targetCalls: number; judgeCalls: number } {
  const sum = { targetCalls: 0, judgeCalls: 0 };
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (path.basename(name) !== 'run.db') continue;
    const db = new Database(path.join(folder, name));
    try {
      const [targetCalls = 0, judgeCalls = 0] = db
        .prepare('SELECT coalesce(sum(target_calls), 0), coalesce(sum(judge_calls), 0) FROM repeated_calls')
        .raw()
        .get() as number[];
      sum.targetCalls += targetCalls;
      sum.judgeCalls += judgeCalls;
    } finally {
      db.close();
    }
  }
  return sum;
}
