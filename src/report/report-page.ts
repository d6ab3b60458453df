import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { FloodgateError } from '../base/errors.ts';
import { packageFile } from '../base/package-root.ts';
import { finishSteps, type Steps } from '../metrics/steps.ts';
import { type KeptMap, keptMapOf } from './attacks/kept-map.ts';
import { collectPageContent, type PageContent, type PageSource } from './sections/page-content.ts';
import { type PageSection, renderSection } from './sections/page-section.ts';
import { copyToPassOn } from './sections/passed-on.ts';
import { answerSection, targetName } from './sections/section-answer.ts';
import { cellsSection } from './sections/section-cells.ts';
import { comparisonSection, judgesSection } from './sections/section-comparison.ts';
import { coverageSection } from './sections/section-coverage.ts';
import { curvesSection } from './sections/section-curves.ts';
import { glossarySection } from './sections/section-glossary.ts';
import { limitsSection } from './sections/section-limits.ts';
import { mapSection } from './sections/section-map.ts';
import { nextSection } from './sections/section-next.ts';
import { robustnessSection } from './sections/section-robustness.ts';
import { costSection, settingsSection } from './sections/section-run.ts';
import { transferSection } from './sections/section-transfer.ts';
import { waysSection } from './sections/section-ways.ts';
import { wordingsSection } from './sections/section-wordings.ts';
import { createTextVault, showAllButton, type TextVault } from './sections/text-vault.ts';
import { Html, html } from './words/html.ts';

export interface ReportPage {
  /** The whole file. */
  readonly markup: string;
  /** Texts that a reader can unmask. */
  readonly texts: number;
  /** The map of the page, for the viewer; undefined where none was drawn. */
  readonly map: KeptMap | undefined;
}

/** One of the page's own files. */
function pageAsset(name: string): string {
  const text = readFileSync(packageFile(`assets/report/${name}`), 'utf8');
  // An end tag would close the element that holds the file.
  if (/<\/(script|style)/i.test(text))
    throw new FloodgateError('format', `report: assets/report/${name} holds an end tag`);
  return text;
}

function sourceHash(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

/**
 * The page may run its own script and style, named by their hashes, and nothing else: no request, no form, no frame,
 * no markup from strings (trusted types). A text that became markup by mistake would have no effect.
 */
function contentPolicy(script: string, style: string): string {
  return [
    "default-src 'none'",
    `script-src ${sourceHash(script)}`,
    `style-src ${sourceHash(style)}`,
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ');
}

/** The sections that hold texts; the first of them that has any has the button for all of them. */
function textSections(content: PageContent, vault: TextVault): (PageSection | undefined)[] {
  const ways = waysSection(content, vault);
  const isInWays = !vault.isEmpty;
  const wordings = wordingsSection(content, vault);
  const button = showAllButton(vault);
  const withButton = (section: PageSection | undefined): PageSection | undefined =>
    section === undefined ? undefined : { ...section, body: html`${button}${section.body}` };
  return isInWays ? [withButton(ways), wordings] : [ways, withButton(wordings)];
}

function sectionsOf(content: PageContent, vault: TextVault): PageSection[] {
  return [
    nextSection(content),
    curvesSection(content),
    ...textSections(content, vault),
    mapSection(content),
    comparisonSection(content),
    cellsSection(content),
    transferSection(content),
    robustnessSection(content),
    judgesSection(content),
    coverageSection(content),
    costSection(content),
    settingsSection(content),
    limitsSection(content),
    glossarySection(content),
  ].flatMap((section) => (section === undefined ? [] : [section]));
}

const DIALOG = html`<dialog id="confirm" aria-labelledby="confirm-title"><h2 id="confirm-title">Show all texts?</h2><p>Attacks and answers were written by language models that were looking for misbehaviour. They may offend.</p><p class="controls"><button type="button" id="confirm-no">Keep them hidden</button> <button type="button" id="confirm-yes">Show all</button></p></dialog>`;

const PASSED_ON = ' This copy holds no attack, no answer and no prompt, and file names in place of paths.';

function document(content: PageContent, sections: readonly PageSection[], vault: TextVault, withTexts: boolean): Html {
  const [script, style] = [pageAsset('page.js'), pageAsset('page.css')];
  const { run } = content.report;
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${contentPolicy(script, style)}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">
<title>${`${targetName(content)} – red-team report, run ${run.name}`}</title>
<style>${new Html(style)}</style></head>
<body><a class="skip" href="#answer">Skip to the answer</a>
<header class="top"><p class="brand">Floodgate <span>red-team report</span></p><p class="quiet">run ${run.name} · ${run.status} · begun ${run.createdAt.slice(0, 10)}</p></header>
<main>${answerSection(content)}
<nav aria-label="Parts of this report"><ul>${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}</ul></nav>
${sections.map(renderSection)}</main>
<footer class="quiet"><p>Made by Floodgate ${content.manifest.versions.floodgate}. This file loads nothing from elsewhere.${withTexts ? '' : PASSED_ON}</p></footer>
${vault.isEmpty ? '' : DIALOG}${vault.dataBlock()}
<script>${new Html(script)}</script></body></html>
`;
}

/** `renderReportPageInSteps` without a pause. */
export function renderReportPage(source: PageSource, options: { readonly withTexts: boolean }): ReportPage {
  return finishSteps(renderReportPageInSteps(source, options));
}

/**
 * Returns the report of a run as one self-contained HTML file. It holds attacks and responses, masked. With `withTexts`
 * false it is a copy to pass on: it holds none of them, no prompt, and file names in place of paths. May pause.
 */
export function* renderReportPageInSteps(
  source: PageSource,
  { withTexts }: { readonly withTexts: boolean },
): Steps<ReportPage> {
  const found = yield* collectPageContent(source);
  const content = withTexts ? found : copyToPassOn(found);
  const vault = createTextVault(withTexts);
  const sections = sectionsOf(content, vault);
  return { markup: document(content, sections, vault, withTexts).markup, texts: vault.count, map: keptMapOf(found) };
}
