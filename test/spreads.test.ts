import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const source = resolve(import.meta.dirname, '../src');

/**
 * Calls whose arguments are spread, and the bound of what is spread. An engine passes arguments on its stack, so that
 * some 125,000 of them end in a RangeError. `src/base/long-lists.ts` has what takes any number.
 */
const BOUNDED: Readonly<Record<string, string>> = {
  "models/sources/file-name.ts: join(folder, ...name.split('/'))": 'a path of at most MAX_PATH_LENGTH characters',
  'targets/local-target.ts: randomStream(this.options.seed, ...(asked[request] as AskedRequest).streamName, response)':
    'the parts of one name',
  'targets/remote-target.ts: randomStream(seed, ...streamName, response)': 'the parts of one name',
  'targets/scripted-target.ts: randomStream(seed, ...streamName, response)': 'the parts of one name',
  'worlds/language/region-target.ts: randomStream(seed, ...streamName, response)': 'the parts of one name',
  'worlds/request-encoder.ts: Math.hypot(...row)': 'the width of the encoder, a constant',
};

const COMMENT = /\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm;
const OPENING = '([{';
const CLOSING = ')]}';

/** Where the bracket around `at` opens; -1 when there is none. */
function openingBefore(text: string, at: number): number {
  let depth = 0;
  for (let i = at - 1; i >= 0; i--) {
    const character = text[i] as string;
    if (CLOSING.includes(character)) depth++;
    else if (OPENING.includes(character) && depth-- === 0) return i;
  }
  return -1;
}

/** Where the bracket that opens at `start` closes. */
function closingOf(text: string, start: number): number {
  let depth = 0;
  for (let i = start; i < text.length; i++) {
    const character = text[i] as string;
    if (OPENING.includes(character)) depth++;
    else if (CLOSING.includes(character) && --depth === 0) return i;
  }
  return text.length;
}

/** The calls in a source text that spread an argument; rest parameters and spreads into lists and objects are none. */
function spreadCalls(original: string): string[] {
  const text = original.replace(COMMENT, '');
  const calls = [...text.matchAll(/\.\.\.(?=[\w([{])/g)].flatMap(({ index }) => {
    const start = openingBefore(text, index);
    const callee = /[\w$.?!\])]+$/.exec(text.slice(0, start).trimEnd())?.[0] ?? '';
    if (text[start] !== '(' || callee === '' || /^(?:return|of|in|await|if)$/.test(callee)) return [];
    const end = closingOf(text, start);
    const isParameter = /^\.\.\.\w+\s*:/.test(text.slice(index)) || /^\)\s*=>/.test(text.slice(end));
    return isParameter ? [] : [`${callee}${text.slice(start, end + 1).replace(/\s+/g, ' ')}`];
  });
  return [...new Set(calls)];
}

describe('spread arguments', () => {
  it.each([
    'Math.max(...values)',
    'Math.min(0, ...values)',
    'list.push(...(await more(1, [2])))',
    'list\n  .push(\n    a,\n    ...b.map(({ c }) => c),\n  )',
    'String.fromCharCode(...bytes.subarray(0, 4))',
    'new Thing(...parts)',
    'lists[0]?.unshift(...[...a])',
  ])('are seen: %s', (code) => {
    expect(spreadCalls(code)).toHaveLength(1);
  });

  it.each([
    'const all = [...a, ...b];',
    'f([...a], { ...b });',
    'return ({ ...a });',
    'function f(first: string, ...rest: string[]): void {}',
    'const f = (...parts) => parts;',
    '// Math.max(...values)\n/* Math.max(...values) */',
    "say('and so on ...');",
  ])('nothing else is taken for them: %s', (code) => {
    expect(spreadCalls(code)).toEqual([]);
  });

  it('are bounded wherever they are', () => {
    const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
      .map((name) => name.replaceAll('\\', '/'))
      .filter((name) => name.endsWith('.ts'));
    expect(files.length).toBeGreaterThan(100);
    const found = files.flatMap((name) =>
      spreadCalls(readFileSync(join(source, name), 'utf8')).map((call) => `${name}: ${call}`),
    );
    expect(found.sort()).toEqual(Object.keys(BOUNDED).sort());
  });
});
