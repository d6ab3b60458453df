import { writeFileSync } from 'node:fs';
import { test } from 'vitest';
import { compileSource } from '../support/compiled-source.ts';
import { execFileSync } from 'node:child_process';
test('help', () => {
  const c = compileSource();
  let all = '';
  for (const cmd of [[], ['run'], ['resume'], ['evaluate'], ['sample'], ['demo'], ['world'], ['init'], ['config'], ['config','show'], ['config','schema'], ['models'], ['list'], ['show'], ['report'], ['rm'], ['tune'], ['transfer'], ['robustness'], ['rounds']])
    all += `\n### ${cmd.join(' ')}\n` + execFileSync(process.execPath, [`${c.folder}/cli/main.js`, ...cmd, '--help'], { encoding: 'utf8' });
  writeFileSync(process.env.OUT!, all); c.remove();
}, 200000);
