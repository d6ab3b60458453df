/** A page's content for a copy that is passed on: it names no folder of this machine, and holds no prompt. */
import { isAbsolute } from 'node:path';
import type { Config } from '../../stages/config/config.ts';
import { createPathCutter, cutStrings, LEFT_OUT, lastPart, stringsOf } from '../words/path-cutter.ts';
import type { PageContent } from './page-content.ts';

/** The config without what its meta-prompt says of each cell. */
function withoutCellTexts(config: Config): Config {
  const { cells } = config.attacker;
  if (cells === undefined) return config;
  const named = cells.map(({ name, text }) => ({ name, ...(text === undefined ? {} : { text: LEFT_OUT }) }));
  return { ...config, attacker: { ...config.attacker, cells: named } };
}

/** The content with base names in place of paths, and without the prompts of attacker and targets. */
export function copyToPassOn(content: PageContent): PageContent {
  const { report, manifest, config, headline, events, vectors, coverage, wayNames, wordingNames } = content;
  const named = [config, manifest, report, vectors.encoder].flatMap((part) => [...stringsOf(part)]);
  const cut = createPathCutter(named.filter((text) => isAbsolute(text) && lastPart(text) !== ''));
  const mapped = <T>(value: T): T => cutStrings(value, cut);
  const encoder = cut(vectors.encoder);
  return {
    ...content,
    report: mapped(report),
    manifest: mapped(manifest),
    config: mapped(withoutCellTexts(config)),
    headline: mapped(headline),
    events: mapped(events),
    coverage: mapped(coverage),
    wayNames: mapped(wayNames),
    wordingNames: mapped(wordingNames),
    vectors:
      vectors.kind === 'missing' ? { ...vectors, encoder, reason: cut(vectors.reason) } : { ...vectors, encoder },
  };
}
