import type { ExportedResponse } from './export-row.ts';
import type { ExportSource } from './export-source.ts';

export type CellType = 'text' | 'number' | 'count' | 'flag';
export type Cell = string | number | boolean | null;

export interface FlatColumn {
  readonly name: string;
  readonly type: CellType;
}

/** Columns before those of the judges, in their order. */
const COMMON = {
  run: 'text',
  floodgate: 'text',
  seed: 'count',
  config_sha256: 'text',
  texts: 'text',
  attack_id: 'count',
  stage: 'text',
  phase: 'text',
  target: 'text',
  update: 'count',
  position: 'count',
  source: 'text',
  cell: 'text',
  attack: 'text',
  success: 'flag',
  success_judge: 'text',
  mean_unsafe: 'number',
  log_reward: 'number',
  log_pi: 'number',
  log_p_ref: 'number',
  wording: 'count',
  wording_name: 'text',
  cause: 'text',
  cause_sha256: 'text',
  way_name: 'text',
  duplicate_of: 'count',
  categories: 'text',
  taxonomy: 'text',
  response_position: 'count',
  response: 'text',
  response_tokens: 'count',
  response_truncated: 'flag',
  response_refused: 'flag',
  label: 'text',
  label_by: 'text',
  label_note: 'text',
} as const satisfies Readonly<Record<string, CellType>>;

export interface FlatRows {
  readonly columns: readonly FlatColumn[];
  /** One row a response; an attack without responses has one row with empty cells. */
  rows(): Iterable<readonly Cell[]>;
}

/** A column for each judge, on the response as it is and with the attack's own words masked, as far as the run has them. */
function judgeColumns({ seats }: ExportSource): FlatColumn[] {
  return seats.map(({ name, masked }) => ({
    name: masked ? `unsafe_own_words_masked:${name}` : `unsafe:${name}`,
    type: 'number',
  }));
}

/** The truth of an answer, who said it, and why. */
function labelCells(response: ExportedResponse | undefined, successJudge: string): Cell[] {
  const { label = null, labels = [] } = response ?? {};
  const said = labels.find(({ judge }) => judge === successJudge) ?? labels.find(({ judge }) => judge === null);
  return [label, said?.who ?? null, said?.note ?? null];
}

/** The attacks of an export as a table, for formats without nesting. */
export function flatRows(source: ExportSource): FlatRows {
  const common = Object.entries(COMMON).map(([name, type]) => ({ name, type }));
  return {
    columns: [...common, ...judgeColumns(source)],
    *rows() {
      for (const attack of source.attacks()) {
        const { responses } = attack;
        const head: Cell[] = [
          attack.run,
          attack.floodgate,
          attack.seed,
          attack.configSha256,
          attack.texts,
          attack.id,
          attack.stage,
          attack.phase,
          attack.target,
          attack.update,
          attack.position,
          attack.source,
          attack.cell,
          attack.attack,
          attack.isSuccess,
          attack.successJudge,
          attack.meanUnsafe,
          attack.logReward,
          attack.logPi,
          attack.logPRef,
          attack.wording,
          attack.wordingName,
          attack.cause,
          attack.causeSha256,
          attack.wayName,
          attack.duplicateOf,
          attack.categories.join(' '),
          attack.taxonomy.map(({ taxonomy, id }) => `${taxonomy}/${id}`).join(' '),
        ];
        for (const response of responses.length === 0 ? [undefined] : responses) {
          const { position, text, tokens, isTruncated, isRefused } = response ?? {};
          const said = [position, text, tokens, isTruncated, isRefused].map((cell) => cell ?? null);
          const verdicts = source.seats.map(
            ({ name, masked }) =>
              response?.verdicts.find(({ judge, ownWordsMasked }) => judge === name && ownWordsMasked === masked)
                ?.unsafe ?? null,
          );
          yield [...head, ...said, ...labelCells(response, attack.successJudge), ...verdicts];
        }
      }
    },
  };
}
