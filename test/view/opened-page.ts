import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import type { StartedView } from './viewed.ts';

/** The page as a reader opens it, and everything that it complained of or asked another place for. */
export async function openPage(
  browser: Browser,
  started: StartedView,
  options: BrowserContextOptions,
  hash = '',
  prepare: (page: Page) => Promise<void> = async () => {},
) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  await prepare(page);
  const complaints: string[] = [];
  page.on('console', (message) => complaints.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith(`${started.base}/`)) complaints.push(`asked for ${request.url()}`);
  });
  await page.goto(started.view.url);
  await page.getByRole('heading', { level: 1, name: 'Runs' }).waitFor();
  if (hash !== '') await page.evaluate(`location.hash = ${JSON.stringify(hash)}`);
  return { context, page, complaints };
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/**
 * The violations that axe finds in a page or a part of it, one line each. Only violations are worked out in full, which
 * spares axe most of its time. Playwright's evaluation is above the page's policy.
 */
export async function violations(page: Page, part?: string): Promise<string[]> {
  if (!(await page.evaluate<boolean>("'axe' in window"))) await page.evaluate(axeSource);
  const context = part === undefined ? 'document' : JSON.stringify(part);
  return page.evaluate<string[]>(
    `axe.run(${context}, { resultTypes: ['violations'] }).then(({ violations }) =>
      violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).join(' ')))`,
  );
}
