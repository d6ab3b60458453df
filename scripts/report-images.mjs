// Takes the three pictures of a report's first screen that docs/report.md and the README show.
//
//   node scripts/report-images.mjs runs/demo/report.html
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const PICTURES = [
  { file: 'report-light-1440.png', width: 1440, height: 900, colorScheme: 'light' },
  { file: 'report-dark-1440.png', width: 1440, height: 900, colorScheme: 'dark' },
  { file: 'report-light-360.png', width: 360, height: 740, colorScheme: 'light' },
];
const FOLDER = resolve(import.meta.dirname, '..', 'docs', 'images');

const [report] = process.argv.slice(2);
if (report === undefined) {
  process.stderr.write('report-images: got no report, expected the path of a report.html\n');
  process.exit(2);
}

// Chromium's sandbox refuses to work for root.
const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
const executablePath = process.env.FLOODGATE_CHROMIUM || '/usr/bin/chromium';
const browser = await chromium.launch({ executablePath, args });
try {
  for (const { file, width, height, colorScheme } of PICTURES) {
    const page = await browser.newPage({ viewport: { width, height }, colorScheme });
    await page.goto(pathToFileURL(resolve(report)).href);
    await page.screenshot({ path: join(FOLDER, file) });
    await page.close();
  }
} finally {
  await browser.close();
}
