import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { yaml } from '../base/yaml.ts';
import type { RunFolder } from '../runs/run-folder.ts';

const pricedConfig = z.looseObject({ prices: z.looseObject({ currency: z.string().max(20) }) });
const cellConfig = z.looseObject({
  attacker: z.looseObject({ cells: z.array(z.looseObject({ name: z.string().max(200) })) }),
});

/** The config of a run as it was written; undefined where it cannot be read. */
function writtenConfig({ configPath }: RunFolder): unknown {
  try {
    return yaml().parse(readFileSync(configPath, 'utf8'));
  } catch {
    return undefined; // damaged: the database is still shown
  }
}

/** The currency of the run's price table; undefined where it has none. */
export function currencyOf(folder: RunFolder): string | undefined {
  return pricedConfig.safeParse(writtenConfig(folder)).data?.prices.currency;
}

/** Names of the run's cells (`attacker.cells`), in the order of its config; empty where it has none. */
export function cellNamesOf(folder: RunFolder): readonly string[] {
  return cellConfig.safeParse(writtenConfig(folder)).data?.attacker.cells.map(({ name }) => name) ?? [];
}
