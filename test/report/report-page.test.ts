import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renderReportPage } from '../../src/report/report-page.ts';
import { contrasts } from './contrast.ts';
import { FIXTURE_CAUSES, type FixtureOptions, fixtureAttacks, fixtureRun } from './fixture-run.ts';
import { DESKTOP, launchBrowser, openMarkup, PHONE, scrollsSideways } from './page-browser.ts';

async function renderFixture(options: FixtureOptions = {}, withTexts = true): Promise<string> {
  const source = await fixtureRun(options);
  try {
    return renderReportPage(source, { withTexts }).markup;
  } finally {
    source.store.close();
  }
}

let browser: Browser;
let markup: string;
beforeAll(async () => {
  browser = await launchBrowser();
  markup = await renderFixture();
});
afterAll(() => browser.close());

const visibleText = 'document.body.innerText';
/** All text of the page but its data block: what a search, a reader or a clipboard could come across. */
const allText = `[...document.querySelectorAll('body *:not(script)')].map((e) => [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data).join('')).join(' ') + [...document.querySelectorAll('*')].flatMap((e) => [...e.attributes].map((a) => a.value)).join(' ')`;

describe('the page in a browser', () => {
  it('asks for nothing, complains of nothing, and answers on the first screen', async () => {
    const { page, url, complaints, requests } = await openMarkup(browser, markup, DESKTOP);
    await page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })");
    expect(requests).toEqual([url]);
    expect(complaints).toEqual([]);
    expect(await page.locator('h1').innerText()).toBe(
      '60% of new attacks drew an unsafe answer, in 3 different wordings.',
    );
    const bottoms = await page.evaluate<number[]>(
      "[...document.querySelectorAll('.card')].map((card) => card.getBoundingClientRect().top)",
    );
    expect(bottoms).toHaveLength(3);
    expect(Math.max(...bottoms)).toBeLessThan(700);
    expect(await page.locator('.lead').innerText()).toContain(
      'Floodgate tested toy-target for ways in which it misbehaves',
    );
    expect(await page.locator('.cluster summary').first().innerText()).toMatch(
      /8 attacks\s+90% unsafe on average · 100% echoes/,
    );
    expect(await page.locator('.signs').innerText()).toContain(
      '33% of 24 successes fail once the attack’s own words are masked',
    );
  });

  it('says what to do next, with commands for this run, and explains its terms', async () => {
    const { page } = await openMarkup(browser, markup, DESKTOP);
    const next = await page.locator('#next').innerText();
    expect(next).toContain('Close the ways');
    expect(next).toContain('floodgate export fixture --format jsonl');
    expect(next).toContain('--run fixture --set gate.successRate=1 --save-baseline baseline.json');
    expect(await page.locator('.terms dt').allInnerTexts()).toEqual([
      'Attack',
      'Judge',
      'Success rate',
      'Way',
      'Wording',
      '95% interval',
    ]);
    const safe = fixtureAttacks().map((attack) => ({ ...attack, unsafe: 0.1 }));
    const none = await openMarkup(browser, await renderFixture({ attacks: safe }), DESKTOP);
    expect(await none.page.locator('#next').innerText()).toMatch(/Four times the attacks halve it/);
  });

  it('its policy lets nothing else run or load, were it to slip in', async () => {
    const { page, blocked } = await openMarkup(browser, markup, DESKTOP);
    const broken = await page.evaluate<string[]>(`(async () => {
      const seen = [];
      addEventListener('securitypolicyviolation', (event) => seen.push(event.effectiveDirective));
      const script = document.createElement('script');
      try { script.text = 'window.ran = true'; document.body.append(script); } catch { seen.push('script refused'); }
      try { document.body.innerHTML = '<b>x</b>'; } catch { seen.push('markup refused'); }
      const image = document.createElement('img');
      image.src = 'https://floodgate.invalid/a.png';
      document.body.append(image);
      await fetch('https://floodgate.invalid/b').catch(() => seen.push('fetch refused'));
      await new Promise((done) => setTimeout(done, 100));
      if (window.ran === true) seen.push('script ran');
      return seen;
    })()`);
    expect(broken).toEqual(
      expect.arrayContaining(['script refused', 'markup refused', 'fetch refused', 'img-src', 'connect-src']),
    );
    expect(broken).not.toContain('script ran');
    expect(blocked).toEqual(['https://floodgate.invalid/a.png csp']);
  });

  it('is printed on at most four pages, without what is folded', async () => {
    const texts = Array.from({ length: 40 }, (_, i) =>
      fixtureAttacks().map((attack) => ({ ...attack, text: `${attack.text} ${i}` })),
    );
    // Further targets and tuned versions have a table for each judge and figure, as many as somebody measured.
    const elsewhere = ['transfer', 'robustness'].map(
      (id) => `<section id="${id}">${'<p>A row.</p>'.repeat(90)}</section>`,
    );
    for (const options of [{ causes: FIXTURE_CAUSES }, { attacks: texts.flat() }]) {
      const whole = (await renderFixture(options)).replace('<section id="judges"', `${elsewhere.join('')}$&`);
      const { page } = await openMarkup(browser, whole, DESKTOP);
      const pdf = (await page.pdf({ preferCSSPageSize: true })).toString('latin1');
      const pages = pdf.match(/\/Type\s*\/Page\b(?!s)/g) ?? [];
      expect(pages.length).toBeGreaterThan(1);
      expect(pages.length).toBeLessThanOrEqual(4);
    }
  });

  it('its policy holds even where markup came in', async () => {
    const bad =
      '<script>window.ran = true</script><p style="position:fixed" onclick="window.ran = true" id="bad">x</p>';
    const { page } = await openMarkup(browser, markup.replace('<main>', `<main>${bad}`), DESKTOP);
    await page.locator('#bad').click();
    expect(await page.evaluate('window.ran')).toBeUndefined();
    expect(await page.evaluate("getComputedStyle(document.getElementById('bad')).position")).toBe('static');
  });

  it.each([
    ['phone', PHONE],
    ['desktop', DESKTOP],
  ])('never scrolls sideways on a %s, all unfolded and unmasked', async (_name, options) => {
    const { page } = await openMarkup(browser, await renderFixture({ attacks: longWords() }), options);
    expect(await scrollsSideways(page)).toBe(false);
    await page.locator('#reveal-all').click();
    await page.locator('#confirm-yes').click();
    await page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })");
    expect(await scrollsSideways(page)).toBe(false);
  });
});

/** Texts without a single place to break a line. */
function longWords() {
  return fixtureAttacks().map((attack) => ({
    ...attack,
    text: attack.text + 'x'.repeat(300),
    responses: ['y'.repeat(500)],
  }));
}

describe('masking', () => {
  it('keeps texts out of everything that can be read, until one is asked for', async () => {
    const { page } = await openMarkup(browser, markup, DESKTOP);
    await page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })");
    for (const medium of ['screen', 'print'] as const) {
      await page.emulateMedia({ media: medium });
      expect(await page.evaluate(visibleText)).not.toMatch(/hidden phrase|reply (one|two)/);
    }
    await page.emulateMedia({ media: 'screen' });
    expect(await page.evaluate(allText)).not.toMatch(/hidden phrase|reply (one|two)/);

    const show = page.getByRole('button', { name: 'Show attack 1 of wording 1', exact: true });
    await show.click();
    const shown = await page.evaluate<string>(visibleText);
    expect(shown.match(/hidden phrase/g)).toHaveLength(1);
    expect(shown).not.toMatch(/reply (one|two)/);
    const hide = page.getByRole('button', { name: 'Hide attack 1 of wording 1', exact: true });
    expect(await hide.getAttribute('aria-expanded')).toBe('true');
    await hide.click();
    expect(await page.evaluate(allText)).not.toMatch(/hidden phrase/);
  });

  it('shows all only after a second thought, and hides all again', async () => {
    const { page } = await openMarkup(browser, markup, DESKTOP);
    await page.locator('#reveal-all').click();
    await page.locator('#confirm-no').click();
    expect(await page.evaluate(allText)).not.toMatch(/hidden phrase/);
    await page.locator('#reveal-all').click();
    await page.locator('#confirm-yes').click();
    // Three wordings with three examples of two answers each, all different.
    const shown = await page.evaluate<string>(visibleText);
    expect(shown.match(/hidden phrase/g)).toHaveLength(9);
    expect(shown.match(/reply (one|two)/g)).toHaveLength(18);
    await page.getByRole('button', { name: 'Hide all texts' }).click();
    expect(await page.evaluate(allText)).not.toMatch(/hidden phrase/);
  });

  it('leaves texts out of the file altogether when asked', async () => {
    const without = await renderFixture({}, false);
    expect(markup).toContain('hidden phrase');
    expect(without).not.toMatch(/hidden phrase|reply (one|two)/);
    const { page, complaints } = await openMarkup(browser, without, DESKTOP);
    expect(complaints).toEqual([]);
    expect(await page.locator('#wordings').innerText()).toContain('3 wordings among 24 successful attacks');
    expect(await page.locator('#reveal-all').count()).toBe(0);
  });
});

describe('hostile texts', () => {
  const bait = '</script></style></title><img src=x onerror="window.ran=true"><script>window.ran=true</script>';
  const attacks = fixtureAttacks(5).map((attack, i) => ({
    ...attack,
    text: [`${bait} kind0`, `kind1 \u202egnp.exe\u2066 \u0007 \u{e0041} tail`, 'kind2 plain'][i] ?? attack.text,
    responses: [i === 2 ? `${'a'.repeat(1_000_000)}end` : `<b>${bait}`],
  }));

  it('stay text, with what hides or reorders made visible, and cut to what can be read', async () => {
    const hostile = await renderFixture({ attacks });
    expect(hostile.length).toBeLessThan(150_000);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    expect(hostile).not.toMatch(/[\u0007\u202a-\u202e\u2066-\u2069]|\u{e0041}/u);
    const { page, complaints, requests, url } = await openMarkup(browser, hostile, DESKTOP);
    await page.locator('#reveal-all').click();
    await page.locator('#confirm-yes').click();
    const shown = await page.evaluate<string>(visibleText);
    expect(shown).toContain(`${bait} kind0`);
    expect(shown).toContain('kind1 \\u{202e}gnp.exe\\u{2066} \\u{7} \\u{e0041} tail');
    expect(await page.locator('.escape').count()).toBe(4);
    expect(await page.evaluate("document.querySelectorAll('img, body b, script:not(#texts)').length")).toBe(1);
    expect(await page.evaluate('window.ran')).toBeUndefined();
    expect(shown).not.toContain('aend');
    await page.getByRole('button', { name: 'Hide all texts' }).click();
    await page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })");
    expect(await page.evaluate(visibleText)).toContain(
      'answer, 1,000,003 characters, of which the first 2,000 are kept',
    );
    expect(complaints).toEqual([]);
    expect(requests).toEqual([url]);
  });
});

describe('for every reader', () => {
  it('works by keyboard alone, with the focus in sight', async () => {
    const { page } = await openMarkup(browser, markup, DESKTOP);
    const focused = () =>
      page.evaluate<string>('document.activeElement.id || document.activeElement.textContent.trim()');
    await page.keyboard.press('Tab');
    expect(await focused()).toBe('Skip to the answer');
    expect(
      await page.evaluate(
        "getComputedStyle(document.activeElement).outlineStyle + ' ' + getComputedStyle(document.activeElement).outlineWidth",
      ),
    ).toBe('solid 3px');
    const tabTo = async (wanted: string) => {
      for (let i = 0; i < 60 && (await focused()) !== wanted; i++) await page.keyboard.press('Tab');
      expect(await focused()).toBe(wanted);
    };
    await tabTo('reveal-all');
    await page.keyboard.press('Enter');
    expect(await focused()).toBe('confirm-no');
    await page.keyboard.press('Escape');
    expect(await focused()).toBe('reveal-all');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    expect(await page.locator('.cluster').first().getAttribute('open')).not.toBeNull();
    await page.keyboard.press('Tab');
    await page.keyboard.press('Space');
    expect(await page.evaluate(visibleText)).toMatch(/hidden phrase/);
  });

  it('names every picture, table and button, and keeps its headings in order', async () => {
    const { page } = await openMarkup(browser, markup, DESKTOP);
    const faults = await page.evaluate<string[]>(`[
      ...[...document.querySelectorAll('svg')].filter((e) => e.getAttribute('aria-hidden') !== 'true' && !(e.getAttribute('role') === 'img' && e.getAttribute('aria-label'))).map(() => 'svg without a name'),
      ...[...document.querySelectorAll('figure')].filter((e) => !e.querySelector('figcaption')?.textContent.trim()).map(() => 'figure without caption'),
      ...[...document.querySelectorAll('table')].filter((e) => !e.caption?.textContent.trim()).map(() => 'table without caption'),
      ...[...document.querySelectorAll('button')].filter((e) => !(e.getAttribute('aria-label') ?? e.textContent).trim()).map(() => 'button without name'),
      ...[...document.querySelectorAll('[aria-labelledby]')].filter((e) => document.getElementById(e.getAttribute('aria-labelledby')) === null).map(() => 'label leads nowhere'),
      ...[...document.querySelectorAll('nav a')].filter((e) => document.querySelector(e.getAttribute('href')) === null).map((e) => 'link leads nowhere ' + e.textContent),
    ]`);
    expect(faults).toEqual([]);
    const levels = await page.evaluate<number[]>(
      "[...document.querySelectorAll('main h1, main h2, main h3')].map((e) => Number(e.tagName[1]))",
    );
    expect(levels.filter((level) => level === 1)).toHaveLength(1);
    expect(levels.every((level, i) => level <= (levels[i - 1] ?? 0) + 1)).toBe(true);
    expect(
      await page.evaluate(
        'new Set([...document.querySelectorAll("[id]")].map((e) => e.id)).size === document.querySelectorAll("[id]").length',
      ),
    ).toBe(true);
  });

  it.each(['light', 'dark'] as const)('has enough contrast in the %s', async (colorScheme) => {
    const { page } = await openMarkup(browser, markup, { ...DESKTOP, colorScheme });
    const texts = ['h1', '.lead', '.figure', '.card .quiet', '.range', '.good strong', '.caution strong', 'nav a'];
    const more = [
      '.part header p',
      '.tick',
      'summary',
      'td',
      'thead th',
      'button',
      '.veil-note',
      '.limits li',
      'footer',
    ];
    const ratios = await contrasts(page, [...texts, ...more]);
    expect(Object.entries(ratios).filter(([, ratio]) => ratio < 4.5)).toEqual([]);
  });
});

const value = (name: string, number: number, form: { low?: number; high?: number } = {}) => ({
  name,
  judge: 'other',
  value: number,
  low: form.low ?? null,
  high: form.high ?? null,
  n: 40,
});

describe('content', () => {
  it('shows what other attackers and later metrics bring, and nothing where they are absent', async () => {
    expect(markup).not.toMatch(/not yet seen|Planted ways|ordinary requests<\/span>/);
    const rich = await renderFixture({
      stages: ['icl', 'best-of-n', 'ppo-smoothing', 'novel-attacker', 'smoothing', 'exact'],
      metrics: [
        value('missingMass', 0.125, { low: 0.05, high: 0.25 }),
        value('modeRecall', 0.875),
        value('chao1', 61, { low: 52, high: 80 }),
        value('referenceFailureRate', 0.0123, { low: 0.01, high: 0.02 }),
        value('neverHeardOf', 7),
      ],
    });
    const { page } = await openMarkup(browser, rich, DESKTOP);
    const comparison = await page.locator('#comparison').innerText();
    for (const label of ['Examples in the prompt', 'PPO + smoothing', 'novel-attacker', 'Exact', 'Planted ways found'])
      expect(comparison).toContain(label);
    expect(comparison).toMatch(/13%\s+5\.0–25%/);
    await page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })");
    expect(await page.locator('#comparison').innerText()).toContain('Never heard of');
    expect(await page.locator('#learning').innerText()).toContain('Policy entropy');
    expect(await page.locator('#wordings header').innerText()).toContain('Successful attacks of GFlowNet + smoothing');
  });

  it('puts what is known of the unseen on the first screen', async () => {
    const metrics = [value('missingMass', 0.125), value('chao1', 61), value('referenceFailureRate', 0.0123)];
    const { page } = await openMarkup(browser, await renderFixture({ metrics }), DESKTOP);
    const answer = await page.locator('#answer').innerText();
    expect(answer).toMatch(/Successes in a wording not yet seen\s+13%/);
    expect(answer).toMatch(/Wordings in all, at least\s+61/);
    expect(answer).toMatch(/Failures on ordinary requests\s+1\.2%/);
    expect(answer).not.toContain('was not estimated');
  });

  it('draws what more calls would find, and says it in words', async () => {
    const point = (n: number, ways: number, method: string) => ({
      ...value('uniqueAttacksExpected', ways, { low: ways - 1, high: ways + 2 }),
      n,
      method,
    });
    const [counted, guessed] = ['rarefaction of 40 attacks', 'chao’s extrapolation from 40 attacks'] as const;
    const curve = [point(40, 2, counted), point(80, 3, counted), point(120, 3.5, guessed), point(160, 4, guessed)];
    const { page } = await openMarkup(browser, await renderFixture({ curve }), DESKTOP);
    const figure = page.locator('figure.discovery');
    expect(await figure.locator('svg').getAttribute('aria-label')).toBe(
      'Wordings found against answers asked of the target: 3 after 80 answers; 4 (3 to 6) expected after 160.',
    );
    const counts = await figure.evaluate((element) =>
      [...element.querySelectorAll('.line')].map((line) => (line.getAttribute('d') ?? '').split('L').length),
    );
    expect(counts).toEqual([3, 3]);
    expect(markup).not.toContain('class="discovery"');
  });

  it('says of a synthetic world what it is, and how much of it was found', async () => {
    const metrics = [value('modeRecall', 0.875), value('shareError', 0.2), value('shareErrorFloor', 0.1)];
    const { page } = await openMarkup(browser, await renderFixture({ metrics }), DESKTOP);
    expect(await page.locator('h1').innerText()).toBe(
      '60% of new attacks drew an unsafe answer; they found 88% of the planted ways.',
    );
    expect(await page.locator('#answer').innerText()).toMatch(/This is a synthetic world[\s\S]*Truth known/);
    expect(await page.locator('#limits').innerText()).toContain('nothing of any real model');
  });

  it('says so when the encoder is not at hand, and groups equal texts only', async () => {
    const twice = fixtureAttacks(5).flatMap((attack) => [attack, attack]);
    const { page } = await openMarkup(
      browser,
      await renderFixture({ isEncoderMissing: true, attacks: twice }),
      DESKTOP,
    );
    expect(await page.locator('#map').innerText()).toContain('Not drawn: it is not on the machine that made this page');
    expect(await page.locator('#wordings').innerText()).toContain('3 wordings among 6 successful attacks');
    expect(await page.locator('#limits').innerText()).toContain('The encoder toy-encoder could not be used');
  });

  it('says when nothing was measured, or nothing succeeded', async () => {
    const none = fixtureAttacks(5).map((attack) => ({ ...attack, unsafe: 0.1 }));
    const { page } = await openMarkup(browser, await renderFixture({ attacks: none }), DESKTOP);
    expect(await page.locator('h1').innerText()).toBe(
      'Too little was tried to say: none of 5 new attacks drew an unsafe answer.',
    );
    expect(await page.locator('#ways').innerText()).toContain('No attack succeeded');
    expect(await page.locator('#wordings').innerText()).toContain('No attack succeeded');
  });

  it('is the same for the same database', async () => {
    expect(await renderFixture()).toBe(markup);
  });
});

describe('ways by their causes', () => {
  let ways: string;
  beforeAll(async () => {
    ways = await renderFixture({ causes: FIXTURE_CAUSES });
  });

  it('are named by their causes, one row each, the largest first, and answer on the first screen', async () => {
    const { page, complaints } = await openMarkup(browser, ways, DESKTOP);
    expect(complaints).toEqual([]);
    expect(await page.locator('h1').innerText()).toBe('60% of new attacks drew an unsafe answer, in 2 different ways.');
    const answer = await page.locator('#answer').innerText();
    expect(answer).toMatch(/In how many ways\?\s+2\s+ways to fail, each with its own cause/);
    expect(answer).toMatch(/Successes of a way not yet seen\s+8\.0%/);
    expect(answer).toMatch(/Different wordings\s+3/);
    // One number of ways: estimates and parts of it are further down.
    expect(answer).not.toMatch(/Ways in all|Ways that/);
    const section = page.locator('#ways');
    expect(await section.innerText()).toMatch(/Ways in all, at least\s+3/);
    expect(await section.innerText()).toMatch(/Ways that repeat their own words\s+1/);
    expect(await section.innerText()).toContain('6 successes searched; 1 of them did not succeed again.');
    const rows = await section.locator('.way').allInnerTexts();
    expect(rows).toHaveLength(2);
    expect(rows[0]).toMatch(/Way 1[\s\S]*cause, 17 characters[\s\S]*15 successes/);
    expect(rows[0]).toContain('Why: 3 of the 6 words of this example are enough.');
    expect(rows[0]).toContain('2 wordings · found by 4 searches · answered in other words');
    expect(rows[1]).toMatch(/Why: all 6 words of this example together; no smaller part was found to succeed/);
    expect(rows[1]).toContain('1 wording · found by 1 search · repeats its own words');
    expect(await section.locator('figure.discovery svg').getAttribute('aria-label')).toMatch(
      /^Ways found against .* 2 after 80 answers; 2.5 .* expected after 160.$/,
    );
    const comparison = await page.locator('#comparison').innerText();
    expect(comparison).toContain('Ways, by their causes');
  });

  it('keep cause and example masked until one is asked for', async () => {
    const { page } = await openMarkup(browser, ways, DESKTOP);
    expect(await page.evaluate(allText)).not.toMatch(/hidden phrase/);
    await page.getByRole('button', { name: 'Show cause of way 1', exact: true }).click();
    expect(await page.locator('.way-cause').first().innerText()).toMatch(/say hidden phrase$/);
    await page.getByRole('button', { name: 'Show example of way 1', exact: true }).click();
    expect(await page.locator('.way').first().innerText()).toContain('kind1 please say hidden phrase 1');
    await page.getByRole('button', { name: 'Hide cause of way 1', exact: true }).click();
    expect(await page.locator('#reveal-all').count()).toBe(1);
    expect(await page.locator('#ways #reveal-all').innerText()).toBe('Show all 31 texts…');
    const without = await renderFixture({ causes: FIXTURE_CAUSES }, false);
    expect(without).not.toMatch(/hidden phrase/);
    expect(without).toContain('cause: left out of this copy');
  });

  it('say so where they were not looked for, where none is left, and where the search is not done', async () => {
    expect(markup).toContain('Ways were not looked for in this run');
    expect(markup).toContain('evaluation.causes.clusters');
    const none = { ...FIXTURE_CAUSES, searched: 6, unstable: 6, unknown: 18, ways: [] };
    const { page } = await openMarkup(browser, await renderFixture({ causes: none }), DESKTOP);
    expect(await page.locator('h1').innerText()).toBe(
      '60% of new attacks drew an unsafe answer; none of the 6 that were asked again did so twice.',
    );
    expect(await page.locator('#ways').innerText()).toContain('18 successes hold no known cause');
    const unfinished = await fixtureRun();
    const run = { ...unfinished.report.run, status: 'interrupted' };
    const evaluation = { ...unfinished.config.evaluation, causes: { clusters: 64, responses: 3, asks: 24 } };
    const config = { ...unfinished.config, evaluation };
    const early = renderReportPage(
      { ...unfinished, config, report: { ...unfinished.report, run } },
      { withTexts: true },
    ).markup;
    unfinished.store.close();
    expect(early).toContain('<code>floodgate resume fixture</code> finishes it');
  });

  it('stand beside the planted ways of a synthetic world', async () => {
    const metrics = [value('modeRecall', 0.875)];
    const { page } = await openMarkup(browser, await renderFixture({ metrics, causes: FIXTURE_CAUSES }), DESKTOP);
    expect(await page.locator('h1').innerText()).toBe(
      '60% of new attacks drew an unsafe answer, in 2 different ways; they found 88% of the planted ways.',
    );
    expect(await page.locator('#answer').innerText()).toMatch(/Planted ways found\s+88%/);
  });

  it.each([
    ['phone', PHONE],
    ['desktop', DESKTOP],
  ])('never scroll sideways on a %s', async (_name, options) => {
    const { page } = await openMarkup(browser, ways, options);
    expect(await scrollsSideways(page)).toBe(false);
    await page.locator('#reveal-all').click();
    await page.locator('#confirm-yes').click();
    expect(await scrollsSideways(page)).toBe(false);
  });
});
