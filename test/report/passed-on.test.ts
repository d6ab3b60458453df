import { afterAll, beforeAll, expect, it } from 'vitest';
import { renderReportPage } from '../../src/report/report-page.ts';
import type { PageSource } from '../../src/report/sections/page-content.ts';
import { fixtureRun } from './fixture-run.ts';

/** A home with a space: whatever parts words would leave half of it. */
const HOME = '/home/mallory jr/private';
const JUDGE = `classifier/${HOME}/judges/clf`;

let source: Awaited<ReturnType<typeof fixtureRun>>;
let onDisk: PageSource;
beforeAll(async () => {
  source = await fixtureRun();
  const { report, manifest, config, store } = source;
  store.recordEvent({
    level: 'warning',
    code: 'x',
    message: `/srv/runs/checkpoints/a.safetensors: damaged; see ${HOME}/log`,
  });
  const models = [
    { role: 'attacker', spec: `${HOME}/attacker`, sha256: 'ab' },
    { role: 'target', spec: `${HOME}/target.gguf`, sha256: 'cd' },
    { role: `judge:${JUDGE}`, spec: `${HOME}/judges/clf`, sha256: 'ef' },
  ];
  onDisk = {
    ...source,
    manifest: { ...manifest, models },
    report: {
      ...report,
      run: { ...report.run, reportedJudge: JUDGE, trainingJudge: JUDGE, models },
      stages: report.stages.map((stage) => ({
        ...stage,
        judges: stage.judges.map((judge) => ({ ...judge, name: JUDGE })),
      })),
    },
    config: {
      ...config,
      attacker: { ...config.attacker, model: `${HOME}/attacker`, metaPrompt: 'the secret meta-prompt' },
      target: {
        ...config.target,
        model: `${HOME}/target.gguf`,
        systemPrompt: 'the secret system prompt',
        note: 'https://example.org/a/b/c',
      },
      judges: { training: { kind: 'classifier', model: `${HOME}/judges/clf` }, evaluation: [] },
    },
    vectors: { kind: 'missing', encoder: `${HOME}/encoder`, reason: `it is not in ${HOME}/cache` },
  };
});
afterAll(() => source.store.close());

it('the copy to pass on names no folder of the machine, and holds no prompt', () => {
  const { markup } = renderReportPage(onDisk, { withTexts: false });
  for (const secret of ['mallory', 'private', '/srv', 'checkpoints/', 'secret']) expect(markup).not.toContain(secret);
  for (const kept of ['target.gguf', 'classifier/clf', 'a.safetensors: damaged', 'https://example.org/a/b/c'])
    expect(markup).toContain(kept);
  expect(markup).toContain('left out of this copy');
  expect(markup).toContain('This copy holds no attack, no answer and no prompt');
});

it('the page of the run folder tells all of it', () => {
  const { markup } = renderReportPage(onDisk, { withTexts: true });
  expect(markup).toContain('the secret system prompt');
  expect(markup).not.toContain('This copy holds');
});
