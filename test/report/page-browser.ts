import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

/** The system's Chromium, or the one that `FLOODGATE_CHROMIUM` names; scripts/check-prerequisites.mjs has checked it. */
function chromiumPath(): string {
  const named = process.env.FLOODGATE_CHROMIUM || 'chromium';
  if (isAbsolute(named)) return named;
  const found = (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, named))
    .find((path) => existsSync(path));
  if (found === undefined) throw new Error(`${named} is not on the PATH: apt-get install -y chromium`);
  return found;
}

export function launchBrowser(): Promise<Browser> {
  // Chromium's sandbox refuses to work for root, which is who runs the tests in a container.
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return chromium.launch({ executablePath: chromiumPath(), args });
}

/** A page with every message and request since it was opened. */
export interface OpenedPage {
  readonly page: Page;
  readonly url: string;
  readonly complaints: readonly string[];
  readonly requests: readonly string[];
  /** Requests of the page that were refused, with the reason. */
  readonly blocked: readonly string[];
}

/** Opens markup as a file, the way a reader does. */
export async function openMarkup(
  browser: Browser,
  markup: string,
  options: BrowserContextOptions,
): Promise<OpenedPage> {
  const path = join(mkdtempSync(join(tmpdir(), 'floodgate-page-')), 'report.html');
  writeFileSync(path, markup);
  const url = pathToFileURL(path).href;
  const page = await (await browser.newContext(options)).newPage();
  const complaints: string[] = [];
  const requests: string[] = [];
  const blocked: string[] = [];
  page.on('console', (message) => complaints.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => requests.push(request.url()));
  page.on('requestfailed', (request) => blocked.push(`${request.url()} ${request.failure()?.errorText}`));
  await page.goto(url);
  return { page, url, complaints, requests, blocked };
}

export const DESKTOP: BrowserContextOptions = { viewport: { width: 1440, height: 900 }, colorScheme: 'light' };
export const PHONE: BrowserContextOptions = { viewport: { width: 360, height: 740 }, colorScheme: 'light' };

/** True when the page can be moved sideways. */
export function scrollsSideways(page: Page): Promise<boolean> {
  return page.evaluate<boolean>('document.documentElement.scrollWidth > document.documentElement.clientWidth');
}
