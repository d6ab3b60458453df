import { contentDifferences, type RunContent, readRunContent } from '../stages/run-content.ts';
import type { WholeRun } from '../stages/whole-run.ts';

interface CostRow {
  readonly stage_id: number;
  readonly tokens: number;
}

/** Tokens of each stage in place of those of each update. */
function sumTokens(rows: readonly unknown[]): unknown[] {
  const sums = new Map<number, number>();
  const others = (rows as readonly CostRow[]).map(({ tokens, ...rest }) => {
    sums.set(rest.stage_id, (sums.get(rest.stage_id) ?? 0) + tokens);
    return rest;
  });
  return [...others, ...sums];
}

const LAG = 'searchLag';

/** Without the age of the attacks, and with the tokens of attacks that are counted when they are taken summed up. */
function withoutLag({ checkpoints, tables, report }: RunContent): RunContent {
  const metric = (tables.metric as readonly { readonly name: string }[]).filter(({ name }) => name !== LAG);
  const json = JSON.parse(report.join('\n'), (key, value: unknown) => (key === LAG ? undefined : value)) as unknown;
  return {
    checkpoints,
    tables: { ...tables, metric, cost: sumTokens(tables.cost ?? []) },
    report: JSON.stringify(json, undefined, 1).split('\n'),
  };
}

/** How a run whose workers search differs from one of one process, a line each. */
export function searchDifferences(whole: WholeRun, name: string): string[] {
  return contentDifferences(withoutLag(whole.content), withoutLag(readRunContent(whole.pathOf(name))));
}
