import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { maxOf, minOf } from '../../base/long-lists.ts';
import { randomStream } from '../../base/random.ts';

/** How the batches of fresh attacks are shared among the cells. */
export type CellRule = 'thompson' | 'equal';

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

/** For each cell, in the order of the config. */
const stateSchema = z.array(z.strictObject({ batches: count, tried: count, founded: count }));

/** JSON-safe; part of every checkpoint. */
export type CellCallsState = z.output<typeof stateSchema>;

/** The yield of one batch of fresh attacks. */
export interface CellYield {
  /** Attacks that were scored. */
  readonly tried: number;
  /** Those of them that succeeded and were no near-duplicate of an earlier success. */
  readonly founded: number;
}

/**
 * Shares the target's calls among the cells. Every cell gets one batch first. Then each batch goes to the cell with the
 * highest draw from Beta(1 + founded, 1 + tried - founded) (Thompson 1933), or to the one with the fewest batches.
 */
export class CellCalls {
  private readonly cells: readonly string[];
  private readonly rule: CellRule;
  private readonly seed: number;
  private readonly counts: CellCallsState;

  /** @throws FloodgateError `run` for a saved state that is not one of these cells. */
  constructor(
    cells: readonly string[],
    { rule, seed }: { readonly rule: CellRule; readonly seed: number },
    saved?: unknown,
  ) {
    this.cells = cells;
    this.rule = rule;
    this.seed = seed;
    this.counts =
      saved === undefined ? cells.map(() => ({ batches: 0, tried: 0, founded: 0 })) : parseState(saved, cells);
  }

  /**
   * The cell of the batch that an update draws. It changes nothing: the batch counts when it is observed.
   * @param underWay cells of batches that are asked and not observed yet.
   */
  next(update: number, underWay: readonly (string | undefined)[]): string {
    const drawn = this.cells.map(
      (cell, i) => this.countOf(i).batches + underWay.filter((each) => each === cell).length,
    );
    const fewest = minOf(drawn);
    if (this.rule === 'equal' || fewest === 0) return this.cells[drawn.indexOf(fewest)] as string;
    const stream = randomStream(this.seed, 'cell', update);
    const draws = this.counts.map(({ tried, founded }) => stream.nextBeta(1 + founded, 1 + tried - founded));
    return this.cells[draws.indexOf(maxOf(draws))] as string;
  }

  /** Counts a batch of a cell, with its answers. */
  observe(cell: string, { tried, founded }: CellYield): void {
    const counted = this.countOf(this.cells.indexOf(cell));
    counted.batches += 1;
    counted.tried += tried;
    counted.founded += founded;
  }

  state(): CellCallsState {
    return this.counts.map((each) => ({ ...each }));
  }

  private countOf(i: number): CellCallsState[number] {
    const found = this.counts[i];
    if (found === undefined) throw new RangeError(`cells: got place ${i}, expected one below ${this.counts.length}`);
    return found;
  }
}

function parseState(saved: unknown, cells: readonly string[]): CellCallsState {
  const { data } = stateSchema.safeParse(saved);
  const isOfCells = data?.length === cells.length && data.every(({ tried, founded }) => founded <= tried);
  if (isOfCells) return data;
  throw new FloodgateError('run', `restore cells: the saved counts are not those of ${cells.length} cells`, {
    hint: 'resume from an earlier checkpoint of this run',
  });
}
