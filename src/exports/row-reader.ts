import { judgeConfigOf, judgeMeasures } from '../judges/judge-names.ts';
import { isUnsafe } from '../learning/reward/reward.ts';
import { attackOutcome } from '../metrics/success.ts';
import type { Report } from '../report/figures/report-json.ts';
import { type Category, rowsOfCategories, type Taxonomy } from '../report/taxonomy/taxonomy.ts';
import type { Manifest } from '../runs/manifest.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import type { StoredAttack, StoredResponse } from '../runs/store/records.ts';
import type { RunStore } from '../runs/store/run-store.ts';
import type { Config } from '../stages/config/config.ts';
import { type VerdictRecord, verdictsOf } from '../trial/evidence.ts';
import {
  type ExportedAttack,
  type ExportedResponse,
  type ExportedVerdict,
  exportText,
  type Provenance,
  type TextMode,
} from './export-row.ts';
import { createCauseFinder, type KnownCause } from './known-causes.ts';
import type { RowLabels } from './row-labels.ts';
import type { ExportedStage } from './stage-rows.ts';
import type { HeldCause } from './ways.ts';

/** The facts of a run, and the store that they are read from. */
export interface OpenedRun {
  readonly folder: RunFolder;
  readonly store: RunStore;
  readonly manifest: Manifest;
  readonly report: Report;
  readonly config: Config;
  readonly cut: (text: string) => string;
}

/** Facts that hold for every row. */
export interface RowFacts {
  readonly provenance: Provenance;
  readonly texts: TextMode;
  readonly taxonomy: Taxonomy;
  /** Name of the run's own target. */
  readonly target: string;
  /** The wording of each success, by row of the database. */
  readonly wordings: ReadonlyMap<number, number>;
  readonly causes: readonly KnownCause[];
  readonly labels: RowLabels;
}

/** The function with its results kept by their text. */
function remembered<Result>(compute: (text: string) => Result): (text: string) => Result {
  const known = new Map<string, Result>();
  return (text) => {
    if (!known.has(text)) known.set(text, compute(text));
    return known.get(text) as Result;
  };
}

/** A reader of verdicts, with the categories that a judge names or measures. */
function createVerdictReader({ config, cut }: OpenedRun, { taxonomy, texts }: RowFacts) {
  const judges = [config.judges.training, ...config.judges.evaluation];
  const nameOf = remembered(cut);
  /** Categories of a judge that measures a quality in place of harm. */
  const measuredBy = remembered((name) => {
    const judge = judgeConfigOf(name, judges);
    const quality = judge === undefined ? undefined : judgeMeasures(judge)?.quality;
    return quality === undefined ? [] : taxonomy.ofQuality(quality);
  });
  return ({ judge, masked, unsafe, reason }: VerdictRecord): ExportedVerdict => {
    const named = unsafe === null || reason === undefined ? [] : taxonomy.ofNote(reason);
    const measured = unsafe !== null && isUnsafe(unsafe) ? measuredBy(judge) : [];
    return {
      judge: nameOf(judge),
      ownWordsMasked: masked,
      unsafe,
      categories: [...new Set([...named, ...measured].map(({ name }) => name))],
      note: reason === undefined ? null : exportText(cut(reason), texts),
    };
  };
}

/** The categories of verdicts on responses as they are, from P(unsafe) above one half, and those of the attack's way. */
function categoriesOf(responses: readonly ExportedResponse[], ofWay: readonly Category[]): string[] {
  const named = responses.flatMap(({ verdicts }) =>
    verdicts.flatMap(({ ownWordsMasked, unsafe, categories }) =>
      !ownWordsMasked && unsafe !== null && isUnsafe(unsafe) ? categories : [],
    ),
  );
  return [...new Set([...named, ...ofWay.map(({ name }) => name)])].sort();
}

/** Returns the reader of an export's rows, each with the known cause that its attack holds. */
export function createRowReader(
  run: OpenedRun,
  facts: RowFacts,
): (attack: StoredAttack, stage: ExportedStage) => HeldCause {
  const { store, report, cut } = run;
  const { texts, taxonomy } = facts;
  const { reportedJudge } = report.run;
  const successJudge = cut(reportedJudge);
  const causeOf = createCauseFinder(facts.causes);
  const verdictRow = createVerdictReader(run, facts);
  const responseRow = (attack: string, response: StoredResponse): ExportedResponse => {
    const { position, text, tokens, truncated, refused, verdicts } = response;
    const said = refused === undefined ? facts.labels.ofAnswer(attack, text) : { label: null, labels: [] };
    return {
      position,
      text: exportText(text, texts),
      tokens,
      isTruncated: truncated,
      isRefused: refused !== undefined,
      verdicts: verdicts.map(verdictRow),
      ...said,
    };
  };
  return (attack, stage) => {
    const { id, update, position, source, cell, logPi, logPRef, logReward, meanUnsafe } = attack;
    const stored = attack.responseCount === 0 ? [] : store.responses(id);
    const outcome = attackOutcome(verdictsOf(stored, { name: reportedJudge, masked: false }));
    const isSuccess = outcome.kind === 'scored' ? outcome.isSuccess : null;
    const held = causeOf(attack.text);
    const cause = isSuccess === true ? held : undefined;
    const responses = stored.map((response) => responseRow(attack.text, response));
    const categories = categoriesOf(responses, cause === undefined ? [] : taxonomy.ofCluster(cause.cause));
    const row: ExportedAttack = {
      ...facts.provenance,
      id,
      stage: stage.stage,
      phase: stage.phase,
      target: stage.target ?? facts.target,
      ...{ update, position, source, cell },
      attack: exportText(attack.text, texts),
      ...{ logPi, logPRef, logReward, meanUnsafe, isSuccess, successJudge },
      wording: facts.wordings.get(id) ?? null,
      cause: cause === undefined ? null : exportText(cause.cause, texts),
      causeSha256: cause?.sha256 ?? null,
      ...facts.labels.ofAttack(attack.text, id, cause?.sha256),
      categories,
      taxonomy: rowsOfCategories(categories, taxonomy),
      responses,
    };
    return { row, held };
  };
}
