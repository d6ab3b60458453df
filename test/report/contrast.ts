import type { Page } from 'playwright-core';

/** Runs in the page: colours of the text of the first visible element of each selector, and of what lies behind it. */
const COLOURS = `(selectors) => selectors.map((selector) => {
  const element = document.querySelector(selector);
  if (element === null) return { selector, missing: true };
  let behind = element;
  const isClear = (node) => /^rgba\\(.*, 0\\)$|^transparent$/.test(getComputedStyle(node).backgroundColor);
  while (isClear(behind) && behind.parentElement !== null) behind = behind.parentElement;
  const style = getComputedStyle(element);
  const text = element instanceof SVGElement ? style.fill : style.color;
  return { selector, text, paper: getComputedStyle(behind).backgroundColor };
})`;

interface Colours {
  readonly selector: string;
  readonly missing?: boolean;
  readonly text?: string;
  readonly paper?: string;
}

/** Relative luminance of `rgb(r, g, b)` (WCAG 2.2). */
function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = (colour.match(/[\d.]+/g) ?? []).slice(0, 3).map((part) => {
    const channel = Number(part) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Contrast ratio of WCAG 2.2 for each selector; 0 for one that is not on the page. */
export async function contrasts(page: Page, selectors: readonly string[]): Promise<Record<string, number>> {
  const found = await page.evaluate<Colours[]>(`(${COLOURS})(${JSON.stringify(selectors)})`);
  return Object.fromEntries(
    found.map(({ selector, missing, text = '', paper = '' }) => {
      const [low = 0, high = 0] = [luminance(text), luminance(paper)].sort((a, b) => a - b);
      return [selector, missing ? 0 : (high + 0.05) / (low + 0.05)];
    }),
  );
}
