import { UNPRINTABLE, visibleEscape } from '../../base/unprintable.ts';
import { rowText } from '../../report/taxonomy/coverage.ts';
import { counted } from '../../report/words/number-words.ts';
import type { TextFormat } from '../export-format.ts';
import { TEXT_WORDS } from '../export-row.ts';
import type { ExportSource } from '../export-source.ts';
import { outcomeText, wayRows, wayText } from '../way-words.ts';
import type { ExportedWay, FoundWays, TargetOutcome } from '../ways.ts';

/** Visible escapes of characters that XML 1.0 cannot hold or no reader would see; tabs and line breaks stay. */
function visible(text: string): string {
  const shown = text.replace(UNPRINTABLE, (character) =>
    character === '\n' || character === '\t' ? character : visibleEscape(character),
  );
  return shown.replace(/[\ufffe\uffff]/g, visibleEscape);
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\n': '&#10;',
  '\t': '&#9;',
};

/** A text for an attribute or an element; `]]>` cannot arise. */
export function xmlText(text: string): string {
  return visible(text).replace(/[&<>"\n\t]/g, (character) => ENTITIES[character] as string);
}

type Attributes = Readonly<Record<string, string | number>>;

function element(name: string, attributes: Attributes, body: readonly string[] = []): string {
  const written = Object.entries(attributes).map(([key, value]) => ` ${key}="${xmlText(String(value))}"`);
  const open = `<${name}${written.join('')}`;
  return body.length === 0 ? `${open}/>` : `${open}>\n${body.join('\n')}\n</${name}>`;
}

type Fact = readonly [name: string, value: string];

function properties(facts: readonly Fact[]): string {
  return element(
    'properties',
    {},
    facts.map(([name, value]) => element('property', { name, value })),
  );
}

type Status = 'passed' | 'failed' | 'skipped';

interface TestCase {
  readonly status: Status;
  readonly markup: string;
}

/** Readers want a duration and a host. An attack belongs to several ways, so a way has no duration of its own. */
const PLACEHOLDERS = { time: '0', hostname: 'localhost' } as const;

function testCase(
  { name, target }: { readonly name: string; readonly target: string },
  status: Status,
  message: string,
  text = message,
): TestCase {
  const result =
    status === 'failed'
      ? [`<failure message="${xmlText(message)}" type="unsafe">${xmlText(text)}</failure>`]
      : status === 'skipped'
        ? [element('skipped', { message })]
        : [];
  return { status, markup: element('testcase', { classname: target, name, time: PLACEHOLDERS.time }, result) };
}

/** Equal in every run, so that a pipeline knows the case again; the number of a way is that of this run. */
const caseName = ({ known }: ExportedWay): string => `way ${known.sha256.slice(0, 12)}`;

/** Facts of a way, among those of its suite: not every reader knows properties of a case. */
function wayFacts(way: ExportedWay, source: ExportSource): Fact[] {
  const facts: readonly Fact[] = [
    ['number', String(way.number)],
    ['causeSha256', way.known.sha256],
    ...wayRows(way, source).map((row): Fact => [row.taxonomy, rowText(row)]),
  ];
  return facts.map(([name, value]) => [`${caseName(way)} ${name}`, value]);
}

/** One case a way: failed where an attack that holds its cause succeeded, skipped where none was sent. */
function wayCase(way: ExportedWay, target: string, source: ExportSource): TestCase {
  const outcome = way.outcomes.find((each) => each.target === target);
  const named = { name: caseName(way), target };
  if (outcome === undefined || outcome.attacks === 0)
    return testCase(named, 'skipped', 'no attack that holds its cause was sent');
  if (outcome.successes === 0) return testCase(named, 'passed', '');
  return testCase(named, 'failed', outcomeText(outcome), wayText(way, source, outcome));
}

/** Successes that belong to no known way: without this case they would be passed over in silence. */
function otherCase({ target, attacks, successes, unexplained }: TargetOutcome, { isSearched }: FoundWays): TestCase {
  const named = { name: 'successes without a known cause', target };
  if (attacks === 0) return testCase(named, 'skipped', 'no attack was evaluated');
  if (unexplained === 0) return testCase(named, 'passed', '');
  const why = isSearched ? '' : '; causes were not looked for';
  return testCase(
    named,
    'failed',
    `${unexplained} of ${counted(successes, 'success', 'successes')} hold no known cause${why}`,
  );
}

/** One suite; `id` is its place among the suites. */
function suite(outcome: TargetOutcome, id: number, found: FoundWays, source: ExportSource): string {
  const { target, attacks, successes } = outcome;
  const cases = [...found.ways.map((way) => wayCase(way, target, source)), otherCase(outcome, found)];
  const { run, seed, configSha256, floodgate, createdAt } = source.provenance;
  const facts = properties([
    ['run', run],
    ['seed', String(seed)],
    ['configSha256', configSha256],
    ['floodgate', floodgate],
    ['texts', TEXT_WORDS[source.texts]],
    ['attacks', String(attacks)],
    ['successes', String(successes)],
    ['judge', source.report.run.reportedJudge],
    ...found.ways.flatMap((way) => wayFacts(way, source)),
  ]);
  const timestamp = createdAt.replace(/\.\d+Z$/, '');
  const attributes = { name: target, id, package: run, timestamp, ...PLACEHOLDERS, ...counts(cases) };
  const outputs = [element('system-out', {}), element('system-err', {})];
  return element('testsuite', attributes, [facts, ...cases.map(({ markup }) => markup), ...outputs]);
}

function counts(cases: readonly TestCase[]) {
  const of = (status: Status): number => cases.filter((each) => each.status === status).length;
  return { tests: cases.length, failures: of('failed'), errors: 0, skipped: of('skipped') };
}

/** Test results: one suite a target, one case a way. Both schemas in common use take it: see `test/exports/junit.xsd`. */
export const junit: TextFormat = {
  kind: 'text',
  name: 'junit',
  describe: 'test results as XML: a suite a target, a case a way, failed when it succeeded',
  *pieces(source) {
    const found = source.ways();
    const none = { target: source.target, attacks: 0, successes: 0, unexplained: 0 };
    const targets = found.targets.length === 0 ? [none] : found.targets;
    const suites = targets.map((each, id) => suite(each, id, found, source));
    yield `<?xml version="1.0" encoding="UTF-8"?>\n`;
    yield `${element('testsuites', {}, suites)}\n`;
  },
};
