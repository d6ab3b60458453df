import type Database from 'libsql';
import { nowMs } from '../../base/clock.ts';

const LATER = 'stage_id = ? AND update_index > ?';
const LATER_RESPONSES = `response WHERE attack_id IN (SELECT id FROM attack WHERE ${LATER})`;

/**
 * Returns the truncation of a stage: everything after an update is counted, then deleted. Calls that an interrupted
 * update had made and never stored cannot be known, and are not counted.
 */
export function createTruncation(db: Database.Database): (stageId: number, update: number) => void {
  const counts = db
    .prepare(
      `SELECT (SELECT count(*) FROM attack WHERE ${LATER}), (SELECT count(*) FROM ${LATER_RESPONSES}),
        (SELECT count(*) FROM verdict WHERE response_id IN (SELECT id FROM ${LATER_RESPONSES}))`,
    )
    .raw();
  const cost = db
    .prepare(
      `SELECT coalesce(sum(target_calls), 0), coalesce(sum(judge_calls), 0), coalesce(sum(tokens), 0),
        coalesce(sum(seconds), 0) FROM cost WHERE ${LATER}`,
    )
    .raw();
  const remember = db.prepare(
    `INSERT INTO repeated_calls (time_ms, stage_id, after_update, attacks, responses, verdicts, target_calls,
      judge_calls, tokens, seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  // Responses and verdicts go with their attacks (ON DELETE CASCADE).
  const deletions = ['attack', 'metric', 'event', 'cost'].map((table) =>
    db.prepare(`DELETE FROM ${table} WHERE ${LATER}`),
  );

  return (stageId, update) => {
    const key = [stageId, update];
    const [attacks, responses, verdicts] = counts.get([...key, ...key, ...key]) as number[];
    const spent = cost.get(key) as number[];
    if (attacks !== 0 || spent.some((amount) => amount !== 0))
      remember.run([nowMs(), stageId, update, attacks, responses, verdicts, ...spent]);
    for (const deletion of deletions) deletion.run(key);
  };
}
