import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { judgeKinds } from '../src/judges/registry.ts';
import { targetKinds } from '../src/targets/registry.ts';
import '../src/worlds/world-kinds.ts';

const root = resolve(import.meta.dirname, '..');

/** Rooms that define kinds of targets and judges. Every other room asks the registry what a kind can do. */
const OWNERS = /^(targets|judges|worlds)\//;

const names = [...new Set([...targetKinds.names(), ...judgeKinds.names()])];
const NAME = `(['"\`])(?:${names.join('|')})\\1`;
const KIND = '\\bkind\\b(?:\\s+as\\s+\\w+)?\\)?';

/** `x.kind === 'local'` and its reverse; the members of a list that are looked up by kind. */
const COMPARISONS = [
  new RegExp(`${KIND}\\s*[!=]==?\\s*${NAME}`, 'g'),
  new RegExp(`${NAME}\\s*[!=]==?\\s*[\\w.?!\\[\\]()]*\\bkind\\b`, 'g'),
  new RegExp(`\\[[^\\]]*${NAME}[^\\]]*\\]\\s*\\.(?:includes|indexOf)\\([^)]*\\bkind\\b`, 'g'),
];
const SWITCH = /switch\s*\([^)]*\bkind\b[^)]*\)\s*\{/g;
const COMMENT = /\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm;

/** The block that opens at `start`, which is just behind its brace. */
function blockAt(text: string, start: number): string {
  let depth = 1;
  let end = start;
  for (; end < text.length && depth > 0; end++) depth += text[end] === '{' ? 1 : text[end] === '}' ? -1 : 0;
  return text.slice(start, end);
}

/** Where a source text tells targets or judges apart by the name of their kind. */
function kindTests(source: string): string[] {
  const text = source.replace(COMMENT, '');
  const compared = COMPARISONS.flatMap((pattern) => [...text.matchAll(pattern)].map(([found]) => found));
  const cases = [...text.matchAll(SWITCH)].flatMap((opening) => {
    const block = blockAt(text, opening.index + opening[0].length);
    return [...block.matchAll(new RegExp(`case\\s+${NAME}`, 'g'))].map(([found]) => found);
  });
  return [...compared, ...cases];
}

describe('the kinds of targets and judges', () => {
  it('are those of the registries', () => {
    expect(names).toEqual(expect.arrayContaining(['local', 'scripted', 'world']));
    expect(names).toEqual(expect.arrayContaining(['lexicon', 'profanity', 'tox-block', 'classifier', 'guard']));
    expect(names).toEqual(expect.arrayContaining(['ensemble', 'masked']));
  });

  it.each([
    `if (config.target.kind === 'local') return model;`,
    `const own = target.kind !== "scripted" ? target : undefined;`,
    `return kind == 'tox-block';`,
    `return 'masked' === judge.kind;`,
    `if ('local' !== config.targets[0]?.kind) return;`,
    `['local', 'world'].includes(target.kind)`,
    `if ((target.kind as string) === 'local') return;`,
    `switch (target.kind) {\n  case 'other': {\n    break;\n  }\n  case 'guard':\n    return 1;\n}`,
    `target.kind ===\n  'local'`,
  ])('a test of one is seen: %s', (source) => {
    expect(kindTests(source)).toHaveLength(1);
  });

  it.each([
    `if (answer.kind === 'text') return;`,
    `if (trainable.kind === 'full') return;`,
    `const target = { kind: 'local', model };`,
    `switch (verdict.kind) {\n  case 'scored':\n    return 1;\n}\nswitch (role) {\n  case 'guard':\n    return 2;\n}`,
    `// target.kind === 'local' was here`,
    `/** target.kind === 'local' was here */`,
    `if (place === 'local') return;`,
    `if (target.kind === 'local-copy') return;`,
  ])('nothing else is taken for one: %s', (source) => {
    expect(kindTests(source)).toEqual([]);
  });

  it('are told apart in the rooms that define them, and nowhere else', () => {
    const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
      .map((name) => name.replaceAll('\\', '/'))
      .filter((name) => name.endsWith('.ts') && !OWNERS.test(name))
      .sort();
    expect(files.length).toBeGreaterThan(100);
    const offences = files.flatMap((name) =>
      kindTests(readFileSync(join(root, 'src', name), 'utf8')).map((found) => `src/${name}: ${found}`),
    );
    expect(offences).toEqual([]);
  });
});
