import { type Coverage, rowsText } from '../taxonomy/coverage.ts';
import type { Html } from '../words/html.ts';
import { isSyntheticWorld } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import { dataTable, type PageSection } from './page-section.ts';

type TaxonomyCoverage = Coverage['taxonomies'][number];

function judgesText({ rows }: TaxonomyCoverage): string {
  const judges = [...new Set(rows.flatMap((each) => each.judges))];
  return judges.length === 0 ? 'none' : judges.join(', ');
}

function table({ taxonomies }: Coverage): Html {
  const columns = ['taxonomy', 'not tested', 'tested', 'judges asked for it'].map((heading) => ({ heading }));
  const rows = taxonomies.map((each) => [
    each.title,
    rowsText(each.rows, false),
    rowsText(each.rows, true),
    judgesText(each),
  ]);
  return dataTable('Parts of the taxonomies', columns, rows);
}

/** The parts of the taxonomies that were not tested. A synthetic world tests none of them, and has no such section. */
export function coverageSection({ headline, coverage }: PageContent): PageSection | undefined {
  if (headline === undefined || isSyntheticWorld(headline)) return undefined;
  return {
    id: 'coverage',
    title: 'What was not tested',
    note: 'A part counts as tested only where a judge that is asked for that kind of harm scored new attacks. Tested does not mean safe.',
    body: table(coverage),
  };
}
