import { z } from 'zod';
import type { StoreQueries } from '../../runs/store/queries.ts';
import { transferCellOf } from '../../runs/store/stage-name.ts';
import { ROBUSTNESS_PREFIX } from '../../studies/robustness/robustness-file.ts';
import { storedTarget } from '../../studies/transfer/target-record.ts';
import { cost, type measure, metrics, toMeasures } from './report-measures.ts';

const divergence = z.strictObject({
  klPerToken: z.number(),
  topAgreement: z.number(),
  referencePerplexity: z.number(),
  otherPerplexity: z.number(),
  tokens: z.number(),
});

const target = z.strictObject({
  name: z.string(),
  kind: z.string(),
  model: z.string(),
  sha256: z.string().nullable(),
  family: z.string().nullable(),
  layers: z.number().nullable(),
  ofLayers: z.number().nullable(),
  precision: z.enum(['fp32', 'int8']),
  template: z.enum(['chat', 'plain']).nullable(),
  systemPrompt: z.string().nullable(),
  decode: z.strictObject({ temperature: z.number(), topP: z.number(), topK: z.number(), maxNewTokens: z.number() }),
  responses: z.number(),
  /** Keys in common with the run's world; null for any other target. */
  shared: z.strictObject({ keys: z.number(), kept: z.number(), seed: z.number() }).nullable(),
  /** int8 against fp32, on a few of the attacks; null in fp32. */
  divergence: divergence.nullable(),
  warnings: z.array(z.string()),
});

const cell = z.strictObject({
  attacker: z.string(),
  target: z.string(),
  /** Only a cell that is done has figures. */
  status: z.enum(['running', 'done', 'failed', 'interrupted']),
  /** Stored evaluation attacks that were sent to the target. */
  attacks: z.number(),
  judges: z.array(z.strictObject({ name: z.string(), reported: z.boolean(), metrics })),
  cost,
});

export const transferSchema = z.strictObject({
  attackers: z.array(z.string()),
  targets: z.array(target),
  cells: z.array(cell),
});

export type TransferReport = z.infer<typeof transferSchema>;
export type TransferReportCell = TransferReport['cells'][number];
export type TransferMeasure = z.infer<typeof measure>;

function buildCell(
  store: StoreQueries,
  name: string,
  status: TransferReportCell['status'],
  reportedJudge: string,
): TransferReportCell {
  const stored = store.metrics(name);
  const judges = [...new Set(stored.flatMap(({ judge }) => (judge === undefined ? [] : [judge])))];
  return {
    ...(transferCellOf(name) as { attacker: string; target: string }),
    status,
    attacks: store.attacks({ stage: name }).length,
    judges: judges.map((judge) => ({
      name: judge,
      reported: judge === reportedJudge,
      metrics: toMeasures(stored.filter((metric) => metric.judge === judge)),
    })),
    cost: store.cost(name),
  };
}

/** False of the cells of the robustness matrix, which has a section of its own. */
function isTransfer(name: string): boolean {
  const cell = transferCellOf(name);
  return cell !== undefined && !cell.target.startsWith(ROBUSTNESS_PREFIX);
}

/** The transfer matrix of a run database; undefined when nothing was transferred. */
export function buildTransfer(store: StoreQueries, reportedJudge: string): TransferReport | undefined {
  const stages = store.stages().filter(({ name }) => isTransfer(name));
  if (stages.length === 0) return undefined;
  const cells = stages.map(({ name, status }) => buildCell(store, name, status, reportedJudge));
  const targets = [...new Set(cells.map((each) => each.target))];
  return {
    attackers: [...new Set(cells.map(({ attacker }) => attacker))],
    targets: targets.flatMap((name) => {
      const known = storedTarget(store, name);
      return known === undefined ? [] : [{ ...known, warnings: [...known.warnings] }];
    }),
    cells,
  };
}

/** The cell of an attacker and a target; undefined where it was not measured. */
export function transferCell(
  { cells }: TransferReport,
  attacker: string,
  targetName: string,
): TransferReportCell | undefined {
  return cells.find((each) => each.attacker === attacker && each.target === targetName);
}
