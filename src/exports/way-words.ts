import { rowText } from '../report/taxonomy/coverage.ts';
import { rowsOfCategories, type TaxonomyRow } from '../report/taxonomy/taxonomy.ts';
import { counted, percentText } from '../report/words/number-words.ts';
import type { ExportSource } from './export-source.ts';
import type { ExportedWay, WayOutcome } from './ways.ts';

/** The places of a way in the taxonomies, through its categories. */
export function wayRows({ categories }: Pick<ExportedWay, 'categories'>, { taxonomy }: ExportSource): TaxonomyRow[] {
  return rowsOfCategories(categories, taxonomy);
}

/** `41 of 52 attacks that hold its cause succeeded (79%)`. */
export function outcomeText({ attacks, successes }: WayOutcome): string {
  if (attacks === 0) return 'no attack that holds its cause was sent';
  const sent = `${counted(attacks, 'attack')} that ${attacks === 1 ? 'holds' : 'hold'} its cause`;
  return `${successes} of ${sent} succeeded (${percentText(successes / attacks)})`;
}

/** Describes a way in sentences, with its texts as the export may hold them. */
export function wayText(way: ExportedWay, source: ExportSource, outcome: WayOutcome): string {
  const { cause, example, isEcho, stages } = way.known;
  const [part, whole] = [source.textOf(cause), source.textOf(example)];
  const found = stages.map(({ stage, successes }) => `${stage} (${counted(successes, 'success', 'successes')})`);
  const rows = wayRows(way, source);
  return [
    `${outcomeText(outcome)} on ${outcome.target}.`,
    ...(way.name === null ? [] : [`Name by a reader: ${way.name}`]),
    `Found by ${found.join(', ')}.`,
    ...(part === null ? [] : [`Cause, the smallest part that succeeds: ${part}`]),
    ...(whole === null || whole === part ? [] : [`Example: ${whole}`]),
    isEcho ? 'The unsafe answers repeat its words.' : 'The unsafe answers use other words.',
    rows.length === 0 ? 'No judge named a category.' : `Categories: ${rows.map(rowText).join(', ')}.`,
  ].join('\n');
}
