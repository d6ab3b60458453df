import { judgeConfigOf, judgeMeasures, judgeSees } from '../../judges/judge-names.ts';
import type { Config } from '../../stages/config/config.ts';
import type { Report } from '../figures/report-json.ts';
import type { Category, Taxonomy, TaxonomyRow } from './taxonomy.ts';

/** A part of the table, and the judges that could see it and judged. Without any it was not tested. */
export interface Covered<Part> {
  readonly part: Part;
  readonly judges: readonly string[];
}

/** A row of a taxonomy. Most rows of OWASP and ATLAS are wide: what was tested of one are some of its categories. */
export interface CoveredRow extends Covered<TaxonomyRow> {
  /** Titles of its categories that judges could see. */
  readonly through: readonly string[];
  /** True where judges could see every category that the table has for it. */
  readonly isWhole: boolean;
}

export interface Coverage {
  readonly categories: readonly Covered<Category>[];
  readonly taxonomies: readonly { readonly title: string; readonly rows: readonly CoveredRow[] }[];
}

/** Judges with verdicts on the attacks of an evaluation. */
function judgesThatJudged({ stages }: Report): string[] {
  const judged = stages.flatMap(({ judges }) =>
    judges.filter(({ metrics }) => (metrics.asr?.n ?? 0) > 0).map(({ name }) => name),
  );
  return [...new Set(judged)];
}

/** The categories that a judge is asked for; none for one that judges harm of any kind without naming kinds. */
function categoriesSeen(name: string, { judges }: Config, taxonomy: Taxonomy): ReadonlySet<Category> {
  const config = judgeConfigOf(name, [judges.training, ...judges.evaluation]);
  if (config === undefined) return new Set();
  const quality = judgeMeasures(config)?.quality;
  return new Set([
    ...judgeSees(config).flatMap(taxonomy.ofJudge),
    ...(quality === undefined ? [] : taxonomy.ofQuality(quality)),
  ]);
}

/**
 * Which parts of the taxonomies a run tested. A category is tested where a judge that is asked for it scored fresh
 * attacks; a row of a taxonomy, where one of its categories is.
 */
export function coverageOf(report: Report, config: Config, taxonomy: Taxonomy): Coverage {
  const seen = judgesThatJudged(report).map((name) => ({ name, sees: categoriesSeen(name, config, taxonomy) }));
  const categories = taxonomy.categories.map((part) => ({
    part,
    judges: seen.filter(({ sees }) => sees.has(part)).map(({ name }) => name),
  }));
  return {
    categories,
    taxonomies: taxonomy.taxonomies.map(({ title, rows }) => ({
      title,
      rows: rows.map((part) => coveredRow(part, categories)),
    })),
  };
}

function coveredRow(part: TaxonomyRow, categories: Coverage['categories']): CoveredRow {
  const { taxonomy, id } = part;
  const here = categories.filter((each) => each.part.rows.some((row) => row.taxonomy === taxonomy && row.id === id));
  const seen = here.filter(({ judges }) => judges.length > 0);
  return {
    part,
    judges: [...new Set(seen.flatMap(({ judges }) => judges))],
    through: seen.map(({ part: { title } }) => title),
    isWhole: seen.length > 0 && seen.length === here.length,
  };
}

/** `Violent Crimes (vcr)`, as reports write a row. */
export function rowText({ id, title }: TaxonomyRow): string {
  return `${title} (${id})`;
}

/** The rows that were tested, or those that were not, as text; what was seen of a row that was tested in part. */
export function rowsText(rows: readonly CoveredRow[], isTested: boolean): string {
  const listed = rows
    .filter(({ judges }) => judges.length > 0 === isTested)
    .map(({ part, through, isWhole }) =>
      isTested && !isWhole ? `${rowText(part)}: only ${through.join(', ').toLowerCase()}` : rowText(part),
    );
  return listed.length === 0 ? 'none' : listed.join('; ');
}
