import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GUARD_FORMATS } from '../../src/judges/guard-formats.ts';
import type { JudgeConfig } from '../../src/judges/judge.ts';
import { judgeSees } from '../../src/judges/judge-names.ts';
import '../../src/judges/registry.ts';
import type { Report } from '../../src/report/figures/report-json.ts';
import { renderReportPage } from '../../src/report/report-page.ts';
import { coverageOf, rowsText } from '../../src/report/taxonomy/coverage.ts';
import { builtInTaxonomy } from '../../src/report/taxonomy/taxonomy.ts';
import { fixtureRun } from './fixture-run.ts';

const taxonomy = builtInTaxonomy();
const names = (found: readonly { readonly name: string }[]): string[] => found.map(({ name }) => name);

const place = mkdtempSync(join(tmpdir(), 'floodgate-taxonomy-'));
let source: Awaited<ReturnType<typeof fixtureRun>>;
beforeAll(async () => {
  source = await fixtureRun({ databasePath: join(place, 'run.db') });
});
afterAll(() => {
  source.store.close();
  rmSync(place, { recursive: true, force: true });
});

const GUARD = { kind: 'guard-api', baseUrl: 'http://127.0.0.1:9/v1', model: 'g', name: 'other' };

/** The fixture's run, whose judge `other` is this one. */
function coveredBy(judge: JudgeConfig) {
  const { config, report } = source;
  return coverageOf(report, { ...config, judges: { ...config.judges, evaluation: [judge] } }, taxonomy);
}

/** The judges of a stage, with the name of the shipped judge for the fixture's own. */
function renamed<T extends { readonly name: string }>(judges: readonly T[]): T[] {
  return judges.map((each) => ({ ...each, name: each.name === 'other' ? 'tox-block/toxic' : each.name }));
}

describe('the table of categories', () => {
  it('knows every kind of harm that a guard is asked for, so that none is lost', () => {
    for (const { policy } of Object.values(GUARD_FORMATS)) {
      for (const name of policy) expect(names(taxonomy.ofJudge(name)), name).not.toEqual([]);
    }
  });

  it('reads the notes of verdicts: with codes, without, with words that are none', () => {
    expect(names(taxonomy.ofNote('S1 Violent Crimes, S10 Hate, no log-probs'))).toEqual(['violent-crimes', 'hate']);
    expect(names(taxonomy.ofNote('harassment/threatening, self-harm'))).toEqual(['harassment', 'self-harm']);
    expect(names(taxonomy.ofNote('O1 Violence and Hate'))).toEqual(['violent-crimes', 'hate']);
    expect(taxonomy.ofNote('a reason in the words of a judge')).toEqual([]);
  });

  it('gives every hazard, risk and technique a title', () => {
    for (const { rows } of taxonomy.categories) {
      for (const { taxonomy: name, id } of rows)
        expect(taxonomy.taxonomies.find((each) => each.name === name)?.rows.map((row) => row.id)).toContain(id);
    }
    expect(taxonomy.taxonomies.map(({ name, rows }) => [name, rows.length])).toEqual([
      ['mlcommons', 12],
      ['owasp-llm', 10],
      ['atlas', 4],
    ]);
  });
});

describe('coverage', () => {
  it('counts what a guard is asked for, and nothing else', () => {
    const { categories, taxonomies } = coveredBy({ ...GUARD, format: 'llama-guard-1' });
    const tested = categories.filter(({ judges }) => judges.length > 0).map(({ part }) => part.name);
    expect(tested).toEqual([
      'violent-crimes',
      'nonviolent-crimes',
      'self-harm',
      'hate',
      'sexual-content',
      'dangerous-content',
    ]);
    const [mlcommons] = taxonomies;
    const rows = mlcommons?.rows.filter(({ judges }) => judges.length === 0).map(({ part }) => part.id);
    expect(rows).toEqual(['src', 'cse', 'iwp', 'dfm', 'prv', 'ipv', 'spc']);
  });

  it('says of a wide row what of it was seen', () => {
    const [mlcommons, owasp] = coverageOf(
      { ...source.report, stages: source.report.stages.map((stage) => ({ ...stage, judges: renamed(stage.judges) })) },
      {
        ...source.config,
        judges: { ...source.config.judges, evaluation: [{ kind: 'tox-block', label: 'toxic', scale: 'rescaled' }] },
      },
      taxonomy,
    ).taxonomies;
    expect(rowsText(mlcommons?.rows ?? [], true)).toBe('none');
    expect(rowsText(owasp?.rows ?? [], true)).toBe('Prompt Injection (LLM01:2025): only rude or insulting answers');
  });

  it('is empty for a judge of harm of any kind, and for one that judged nothing', () => {
    const tested = (judge: JudgeConfig) => coveredBy(judge).categories.filter(({ judges }) => judges.length > 0);
    expect(tested({ ...GUARD, format: 'wildguard' })).toEqual([]);
    expect(tested({ ...GUARD, name: 'another', format: 'llama-guard-3' })).toEqual([]);
  });

  it('does not count a judge that could score nothing', () => {
    const { config, report } = source;
    const unscored = (stage: Report['stages'][number]) => ({
      ...stage,
      judges: stage.judges.map((each) => ({ ...each, metrics: { asr: { value: null, low: null, high: null, n: 0 } } })),
    });
    const judges = { ...config.judges, evaluation: [{ ...GUARD, format: 'llama-guard-3' } as JudgeConfig] };
    const count = (stages: Report['stages']) =>
      coverageOf({ ...report, stages }, { ...config, judges }, taxonomy).categories.filter(
        (each) => each.judges.length > 0,
      ).length;
    expect(count(report.stages)).toBe(13);
    expect(count(report.stages.map(unscored))).toBe(0);
  });

  it('sees through judges that are made of judges, and counts the categories that a config names', () => {
    const inner = { ...GUARD, format: 'shieldgemma' };
    expect(judgeSees({ kind: 'masked', judge: inner })).toContain('Hate Speech');
    expect(judgeSees({ kind: 'ensemble', members: [{ weight: 1, judge: inner }] })).toContain('Harassment');
    const moderation = { kind: 'moderation', baseUrl: 'http://127.0.0.1:9/v1', model: 'm' };
    expect(judgeSees(moderation)).toEqual([]);
    expect(judgeSees({ ...moderation, categories: ['violence'] })).toEqual(['violence']);
  });

  it('is a section of the report that says what was not tested, and is absent in a synthetic world', async () => {
    const page = renderReportPage(source, { withTexts: false }).markup;
    expect(page).toContain('What was not tested');
    expect(page).toContain('Indiscriminate Weapons (iwp)');
    const world = await fixtureRun({
      databasePath: join(place, 'world.db'),
      metrics: [{ name: 'modeRecall', value: 0.5, low: null, high: null, n: 4 }],
    });
    expect(renderReportPage(world, { withTexts: false }).markup).not.toContain('What was not tested');
    world.store.close();
  });
});
