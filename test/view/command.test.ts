import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cli } from '../cli/cli-runner.ts';
import { makeRun } from './viewed.ts';

let parent: string;
beforeAll(async () => {
  parent = mkdtempSync(join(tmpdir(), 'floodgate-view-'));
  await makeRun(parent, 'first');
});
afterAll(() => rmSync(parent, { recursive: true, force: true }));

/** Runs `floodgate view` until its first answer is seen, then ends it as Ctrl-C does. */
async function viewUntil(args: readonly string[], look: (printed: string) => Promise<void>) {
  const ended = new AbortController();
  let printed = '';
  let seen: Promise<void> | undefined;
  const write = (text: string): void => {
    printed += text;
    seen ??= look(printed).finally(() => ended.abort());
  };
  const { code } = await cli(['view', '--runs-dir', parent, ...args], { stdout: { write }, signal: ended.signal });
  await seen;
  return { code, printed };
}

describe('floodgate view', () => {
  it('prints one address, answers there, and stops with its terminal', async () => {
    let base = '';
    const { code, printed } = await viewUntil([], async (text) => {
      base = /http:\/\/127\.0\.0\.1:\d+\//.exec(text)?.[0] ?? '';
      expect((await fetch(base)).status).toBe(200);
    });
    expect(code).toBe(0);
    expect(printed).toMatch(/^open http:\/\/127\.0\.0\.1:\d+\/#token=[\w-]{43}\nCtrl-C stops it\n$/);
    await expect(fetch(base)).rejects.toThrow();
  });

  it('prints JSON, and shows only the runs that were named', async () => {
    const { code, printed } = await viewUntil(['first', '--json'], async (text) => {
      const [base = '', token] = (JSON.parse(text) as { url: string }).url.split('/#token=');
      const body = JSON.stringify({ token });
      const begun = await fetch(`${base}/api/session`, { method: 'POST', body, headers: { origin: base } });
      const cookie = begun.headers.get('set-cookie')?.split(';')[0] ?? '';
      const { runs } = (await (await fetch(`${base}/api/runs`, { headers: { cookie } })).json()) as { runs: object[] };
      expect(runs).toMatchObject([{ key: 'first' }]);
    });
    expect([code, Object.keys(JSON.parse(printed) as object)]).toEqual([0, ['url']]);
  });

  it('says so where there is no such run', async () => {
    const { code, stderr } = await cli(['view', 'nothing', '--runs-dir', parent]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/run nothing: no such run/)]);
  });
});
