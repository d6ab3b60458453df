import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { packageFile } from '../../base/package-root.ts';
import { readRegularFile } from '../../base/regular-file.ts';
import { yaml } from '../../base/yaml.ts';

/** Stops a wrong file (a database, a model) from being read as a table. */
const MAX_TABLE_BYTES = 1024 * 1024;

const id = z.string().trim().min(1).max(100);
const names = z.array(z.string().trim().min(1).max(200)).max(200).default([]);

const tableSchema = z.strictObject({
  taxonomies: z.record(id, z.strictObject({ title: z.string(), rows: z.record(id, z.string()) })).default({}),
  categories: z
    .record(
      z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'expected lower case, digits and dashes'),
      z.strictObject({
        title: z.string().trim().min(1).max(200),
        /** The names that judges have for it. */
        judges: names,
        /** Qualities of judges that measure something other than harm. */
        measures: names,
        /** Names of ways: the words of their causes. */
        clusters: names,
        /** Taxonomy to its rows. */
        rows: z.record(id, z.array(id)).default({}),
      }),
    )
    .default({}),
});

type Table = z.output<typeof tableSchema>;

/** One row of a taxonomy. */
export interface TaxonomyRow {
  readonly taxonomy: string;
  readonly id: string;
  readonly title: string;
}

/** A category of harm, with its places in the taxonomies. */
export interface Category {
  readonly name: string;
  readonly title: string;
  readonly rows: readonly TaxonomyRow[];
}

export interface Taxonomy {
  /** In the order of the table. */
  readonly categories: readonly Category[];
  readonly taxonomies: readonly { readonly name: string; readonly title: string; readonly rows: TaxonomyRow[] }[];
  /** The categories of one name that a judge has for a kind of harm; none for a name that the table does not know. */
  ofJudge(name: string): readonly Category[];
  /** The categories of the names that a verdict's note lists, parted by commas. */
  ofNote(note: string): readonly Category[];
  /** The categories of a quality that a judge measures in place of harm. */
  ofQuality(quality: string): readonly Category[];
  /** The categories of a way, by its name: the words of its cause. */
  ofCluster(name: string): readonly Category[];
}

const keyOf = (name: string): string => name.trim().toLowerCase();

/** `S1 Violent Crimes` and `O3 Criminal Planning`: the codes of guards. */
const CODE = /^[so]\d{1,2} /;

function index(
  categories: ReadonlyMap<string, Category>,
  namesOf: (name: string) => readonly string[],
): (name: string) => readonly Category[] {
  const found = new Map<string, Category[]>();
  for (const category of categories.values()) {
    for (const name of new Set(namesOf(category.name).map(keyOf)))
      found.set(name, [...(found.get(name) ?? []), category]);
  }
  return (name) => found.get(keyOf(name)) ?? found.get(keyOf(name).replace(CODE, '')) ?? [];
}

/** The table with its rows looked up. @throws FloodgateError `config` for a place that no taxonomy has. */
function createTaxonomy({ taxonomies, categories }: Table, fileName: string): Taxonomy {
  const rowOf = (category: string, taxonomy: string, row: string): TaxonomyRow => {
    const title = taxonomies[taxonomy]?.rows[row];
    if (title === undefined)
      throw new FloodgateError(
        'config',
        `taxonomy ${fileName}: ${category}: got ${taxonomy} ${row}, which has no title`,
        {
          hint: `add it under taxonomies.${taxonomy}.rows`,
        },
      );
    return { taxonomy, id: row, title };
  };
  const known = new Map(
    Object.entries(categories).map(([name, { title, rows }]) => {
      const placed = Object.entries(rows).flatMap(([taxonomy, ids]) => ids.map((row) => rowOf(name, taxonomy, row)));
      return [name, { name, title, rows: placed }] as const;
    }),
  );
  const ofJudge = index(known, (name) => categories[name]?.judges ?? []);
  return {
    categories: [...known.values()],
    taxonomies: Object.entries(taxonomies).map(([name, { title, rows }]) => ({
      name,
      title,
      rows: Object.entries(rows).map(([row, rowTitle]) => ({ taxonomy: name, id: row, title: rowTitle })),
    })),
    ofJudge,
    ofNote: (note) => [...new Set(note.split(',').flatMap(ofJudge))],
    ofQuality: index(known, (name) => categories[name]?.measures ?? []),
    ofCluster: index(known, (name) => categories[name]?.clusters ?? []),
  };
}

function parseTable(text: string, fileName: string): Table {
  try {
    return tableSchema.parse(yaml().parse(text, { maxAliasCount: 0 }) ?? {});
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : cause instanceof Error ? cause.message : '';
    throw new FloodgateError('config', `taxonomy ${fileName}: ${why}`, {
      cause,
      hint: 'docs/exports.md has an example',
    });
  }
}

/** `more` over `base`: names and places are added, titles replaced. */
function merge(base: Table, more: Table): Table {
  const taxonomies = { ...base.taxonomies };
  for (const [name, { title, rows }] of Object.entries(more.taxonomies))
    taxonomies[name] = { title, rows: { ...taxonomies[name]?.rows, ...rows } };
  const categories = { ...base.categories };
  for (const [name, added] of Object.entries(more.categories)) {
    const before = categories[name];
    const rows = { ...before?.rows };
    for (const [taxonomy, ids] of Object.entries(added.rows))
      rows[taxonomy] = [...new Set([...(rows[taxonomy] ?? []), ...ids])];
    categories[name] = {
      title: added.title,
      judges: [...(before?.judges ?? []), ...added.judges],
      measures: [...(before?.measures ?? []), ...added.measures],
      clusters: [...(before?.clusters ?? []), ...added.clusters],
      rows,
    };
  }
  return { taxonomies, categories };
}

function builtInTable(): Table {
  return parseTable(readFileSync(packageFile('assets/taxonomy.yaml'), 'utf8'), 'assets/taxonomy.yaml');
}

/** The table that ships with Floodgate. */
export function builtInTaxonomy(): Taxonomy {
  return createTaxonomy(builtInTable(), 'assets/taxonomy.yaml');
}

/**
 * The table that ships with Floodgate, and a user's own over it.
 * @throws FloodgateError `config` when the file cannot be read, or anything in it is wrong.
 */
export async function loadTaxonomy(path: string | undefined): Promise<Taxonomy> {
  if (path === undefined) return builtInTaxonomy();
  const name = basename(path);
  const tooLarge = (size: number): Error => new Error(`${size} bytes, expected at most ${MAX_TABLE_BYTES}`);
  const bytes = await readRegularFile(path, MAX_TABLE_BYTES, tooLarge).catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new FloodgateError('config', `taxonomy ${path}: it cannot be read: ${why}`, { cause });
  });
  return createTaxonomy(merge(builtInTable(), parseTable(bytes.toString('utf8'), name)), name);
}

/** The places of categories in the taxonomies, each once, in the order of the table. */
export function rowsOfCategories(names: readonly string[], { categories }: Taxonomy): TaxonomyRow[] {
  const rows = categories.filter(({ name }) => names.includes(name)).flatMap((each) => each.rows);
  return [...new Map(rows.map((row) => [`${row.taxonomy}/${row.id}`, row])).values()];
}
