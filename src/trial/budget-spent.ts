import { FloodgateError } from '../base/errors.ts';

/** The run has spent what it may. Not a fault: what is stored is kept, and a higher cap continues. */
export class BudgetSpent extends FloodgateError {
  /** The option that continues the run, e.g. `--budget targetCalls=4000`. */
  readonly option: string;

  constructor(cap: string, message: string, raised: number) {
    super('interrupted', message, { hint: `a higher cap continues: --budget ${cap}=${raised}` });
    this.name = 'BudgetSpent';
    this.option = `--budget ${cap}=${raised}`;
  }
}
