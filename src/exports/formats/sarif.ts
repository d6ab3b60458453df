import { packageVersion } from '../../base/package-root.ts';
import { printableJson } from '../../base/unprintable.ts';
import type { Category, TaxonomyRow } from '../../report/taxonomy/taxonomy.ts';
import { counted } from '../../report/words/number-words.ts';
import type { TextFormat } from '../export-format.ts';
import { TEXT_WORDS } from '../export-row.ts';
import type { ExportSource } from '../export-source.ts';
import { wayRows, wayText } from '../way-words.ts';
import type { ExportedWay, FoundWays } from '../ways.ts';

const SCHEMA = 'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json';

/** The rule of ways for which no judge named a category of the table. */
const UNNAMED: Category = { name: 'unsafe-answer', title: 'Unsafe answers of no named category', rows: [] };

/** One rule a row of the table of categories, with its places in the taxonomies. */
function ruleOf({ name, title, rows }: Category) {
  const tags = rows.map(({ taxonomy, id }) => `${taxonomy}/${id}`);
  return {
    id: `floodgate/${name}`,
    name: name.replace(/(?:^|-)([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
    shortDescription: { text: title },
    fullDescription: { text: `An attack drew an answer that a judge calls unsafe: ${title.toLowerCase()}.` },
    defaultConfiguration: { level: 'error' },
    properties: { tags: ['security', ...tags] },
    ...(rows.length === 0
      ? {}
      : {
          relationships: rows.map(({ taxonomy, id }) => ({
            target: { id, toolComponent: { name: taxonomy } },
            kinds: ['relevant'],
          })),
        }),
  };
}

function taxonomiesOf({ taxonomy }: ExportSource) {
  return taxonomy.taxonomies.map(({ name, title, rows }) => ({
    name,
    fullName: title,
    taxa: rows.map(({ id, title: row }) => ({ id, name: row, shortDescription: { text: row } })),
  }));
}

const taxaOf = (rows: readonly TaxonomyRow[]) =>
  rows.map(({ taxonomy, id }) => ({ id, toolComponent: { name: taxonomy } }));

function placeOf({ location: { uri, line } }: ExportSource) {
  return [{ physicalLocation: { artifactLocation: { uri }, region: { startLine: line } } }];
}

/** One result a way; the hash of its cause tells it in every later run. */
function resultOf(way: ExportedWay, source: ExportSource, rules: readonly Category[]) {
  const [outcome] = way.outcomes;
  const category = way.categories.find((name) => rules.some((rule) => rule.name === name)) ?? UNNAMED.name;
  const rows = wayRows(way, source);
  const text = outcome === undefined ? '' : wayText(way, source, outcome);
  return {
    ruleId: `floodgate/${category}`,
    ruleIndex: rules.findIndex(({ name }) => name === category),
    level: 'error',
    message: { text: `Way ${way.number}: ${text}` },
    locations: placeOf(source),
    partialFingerprints: { 'causeSha256/v1': way.known.sha256 },
    ...(rows.length === 0 ? {} : { taxa: taxaOf(rows) }),
    properties: {
      successes: way.known.successes,
      isEcho: way.known.isEcho,
      categories: way.categories,
      outcomes: way.outcomes,
    },
  };
}

/** Successes that belong to no known way, as one result: a clean file would say that there are none. */
function otherResult({ targets, isSearched }: FoundWays, source: ExportSource, rules: readonly Category[]) {
  const [own] = targets;
  if (own === undefined || own.unexplained === 0) return [];
  const why = isSearched ? '' : ' Causes were not looked for: evaluation.causes.clusters looks for them.';
  const text = `${own.unexplained} of ${counted(own.successes, 'success', 'successes')} on ${own.target} hold no known cause.${why}`;
  return [
    {
      ruleId: `floodgate/${UNNAMED.name}`,
      ruleIndex: rules.indexOf(UNNAMED),
      level: 'error',
      message: { text },
      locations: placeOf(source),
      partialFingerprints: { 'causeSha256/v1': 'no known cause' },
    },
  ];
}

/** Static analysis results, for code scanning: one rule a category, one result a way. */
export const sarif: TextFormat = {
  kind: 'text',
  name: 'sarif',
  describe: 'SARIF 2.1.0 for code scanning: a rule a category of the taxonomies, a result a way',
  *pieces(source) {
    const rules = [...source.taxonomy.categories, UNNAMED];
    const found = source.ways();
    const results = [
      ...found.ways
        .filter(({ outcomes }) => (outcomes[0]?.successes ?? 0) > 0)
        .map((way) => resultOf(way, source, rules)),
      ...otherResult(found, source, rules),
    ];
    const log = {
      $schema: SCHEMA,
      version: '2.1.0',
      runs: [
        {
          tool: {
            driver: {
              name: 'Floodgate',
              version: packageVersion(),
              rules: rules.map(ruleOf),
              supportedTaxonomies: source.taxonomy.taxonomies.map(({ name }) => ({ name })),
            },
          },
          taxonomies: taxonomiesOf(source),
          // Without results, a run that is not done is not clean.
          invocations: [{ executionSuccessful: source.report.run.status === 'done' }],
          automationDetails: { id: `floodgate/${source.provenance.run}` },
          columnKind: 'utf16CodeUnits',
          results,
          properties: { ...source.provenance, textsInWords: TEXT_WORDS[source.texts] },
        },
      ],
    };
    yield `${printableJson(JSON.stringify(log, null, 2))}\n`;
  },
};
