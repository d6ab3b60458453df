import { describe, expect, test, vi } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import { createChatTemplate } from '../../src/models/tokenizer/chat-template.ts';

vi.setConfig({ testTimeout: 300_000 });

/** A limit of some seconds, with room for a machine that is busy with other tests. */
const PATIENCE_MS = 60_000;
/** Far below what the templates here ask for: gigabytes. */
const MAX_GROWTH_BYTES = 1_200_000_000;

function refusalOf(source: string, content = 'hi'): FloodgateError {
  const start = performance.now();
  const before = process.memoryUsage().rss;
  let failure: unknown;
  try {
    createChatTemplate(source).render([{ role: 'user', content }]);
  } catch (error) {
    failure = error;
  }
  expect(performance.now() - start).toBeLessThan(PATIENCE_MS);
  expect(process.memoryUsage().rss - before).toBeLessThan(MAX_GROWTH_BYTES);
  expect(failure).toBeInstanceOf(FloodgateError);
  expect(failure).toMatchObject({ code: 'format', message: expect.stringMatching(/^chat template: /) });
  return failure as FloodgateError;
}

/** Sets `ns.x` to `first` doubled `times` times. */
const doubled = (first: string, times: number) =>
  `{% set ns = namespace(x=${first}) %}{% for i in range(${times}) %}{% set ns.x = ns.x + ns.x %}{% endfor %}`;

describe('a hostile chat template', () => {
  test.each([
    [
      'doubles a text, and rewrites it again and again',
      `${doubled("'ab'", 24)}{% for i in range(9999) %}{% set y = ns.x.upper() %}{% endfor %}`,
    ],
    [
      'rewrites a text below the limit again and again',
      `${doubled("'ab'", 19)}{% for i in range(9999) %}{% set y = ns.x.upper() %}{% endfor %}`,
    ],
    [
      'keeps copies of a long list',
      `${doubled('[1]', 22)}{% set k = namespace(a=[]) %}{% for i in range(400) %}` +
        '{% set k.a = k.a + [ns.x + [i]] %}{% endfor %}',
    ],
    [
      'keeps copies of a list below the limit',
      `${doubled('[1]', 16)}{% set k = namespace(a=[]) %}{% for i in range(9999) %}` +
        '{% set k.a = k.a + [ns.x + [i]] %}{% endfor %}',
    ],
    ['splits a text into millions', `${doubled("','", 27)}{% set y = ns.x.split(',') %}{{ y|length }}`],
    ['splits a text below the limit', `${doubled("','", 21)}{% set y = ns.x.split(',') %}{{ y|length }}`],
    ['splits at spaces', `${doubled("'a '", 20)}{% set y = ns.x.split() %}{{ y|length }}`],
    ['replaces each character by a text', `${doubled("'a'", 20)}{% set y = ns.x.replace('a', ns.x) %}`],
    ['replaces nothing by a text', `${doubled("'a'", 20)}{% set y = ns.x | replace('', ns.x) %}`],
    ['hides the method', `${doubled("'a'", 20)}{% set f = ns.x['replace'] %}{{ f('a', ns.x) | length }}`],
    ['spreads the arguments', `${doubled("'a'", 20)}{{ ns.x.replace(*['a', ns.x]) | length }}`],
    ['calls the method as a block', `${doubled("'a'", 20)}{% call ns.x.replace('a', ns.x) %}{% endcall %}`],
    ['joins with a text', `${doubled('[1]', 16)}${doubled("'a'", 20).replaceAll('ns', 'ms')}{{ ns.x | join(ms.x) }}`],
    ['indents by a billion', "{% set y = 'a\\nb' | indent(500000000) %}"],
    ['indents JSON by a billion', '{% set y = [[1], [2]] | tojson(indent=200000000) %}'],
    ['separates JSON by a text', `${doubled("'a'", 20)}{{ range(9999) | tojson(separators=(ns.x, ns.x)) | length }}`],
    [
      'writes out a list of lists of lists',
      `{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}`,
    ],
    [
      'compares a list of lists of lists with a text',
      `{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == 'a' }}`,
    ],
    ['puts a namespace into a list', "{% set ns = namespace(x='a') %}{% set y = [ns, ns] %}{{ y | length }}"],
    ['is its own value', '{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}'],
    [
      'filters a block of many texts',
      `${doubled("'ab'", 20)}{% filter upper %}${'{{ ns.x }}'.repeat(300)}{% endfilter %}`,
    ],
    ['gives filters in blocks arguments', "{% filter replace('a', 'b') %}a{% endfilter %}"],
    [
      'nests loops over long lists',
      `${doubled('[1]', 16)}${'{% for a in ns.x %}'.repeat(60)}x${'{% endfor %}'.repeat(60)}`,
    ],
    [
      'searches a text again and again',
      `${doubled("'ab'", 20)}{% for i in range(9999) %}{% if 'bb' in ns.x %}x{% endif %}{% endfor %}`,
    ],
    [
      'looks at the methods of each part',
      `${doubled("'a,'", 16)}{% set y = ns.x.split(',') %}{% set k = namespace(n=0) %}` +
        '{% for i in range(20) %}{% for p in (ns.x ~ i).split(",") %}{% set k.n = k.n + p.length %}{% endfor %}{% endfor %}',
    ],
    [
      'sorts a long list again and again',
      `${doubled("['b', 'a']", 15)}{% for i in range(9999) %}{% set y = ns.x | sort %}{% endfor %}`,
    ],
    ['calls itself', '{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}'],
    ['repeats a long message', `{% for i in range(9999) %}{{ messages[0].content }}{% endfor %}`],
  ])('that %s is refused', (_name, source) => {
    refusalOf(source, 'a message '.repeat(1000));
  });

  test('of white space alone is parsed in time, or refused', () => {
    refusalOf(`${' '.repeat(250_000)}{`);
  });

  test('that is deep is refused', () => {
    refusalOf(`{{ ${'['.repeat(100_000)} }}`);
    refusalOf(`{{ ${'(-'.repeat(50_000)}1${')'.repeat(50_000)} }}`);
  });
});

describe('an honest chat template', () => {
  const render = (source: string, content: string) => createChatTemplate(source).render([{ role: 'user', content }]);

  test('works on a message of a million characters', () => {
    const content = `<think>${'reason '.repeat(70_000)}</think>${'answer\n'.repeat(70_000)}`;
    const source =
      "{% for m in messages %}{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\\n') | trim }}" +
      "{{ m['content'] | replace('\\n', ' ') | length }}{{ m.content | tojson | length }}{% endif %}{% endfor %}";
    const lines = content.split('\n').length - 1;
    expect(render(source, content)).toBe(
      `${'answer\n'.repeat(70_000).trim()}${content.length}${content.length + lines + 2}`,
    );
  });

  test('may write tools as indented JSON, and gather text in a namespace', () => {
    const source =
      "{% set tools = [{'name': 'f', 'parameters': {'type': 'object', 'properties': {'x': {'type': 'string'}}}}] %}" +
      "{% set ns = namespace(text='') %}{% for t in tools %}{% set ns.text = ns.text ~ (t | tojson(indent=4)) %}{% endfor %}" +
      "{{ ns.text | length }}{{ messages | map(attribute='content') | join(', ') }}{{ 'a\\nb' | indent(2) }}";
    expect(render(source, 'hi')).toMatch(/^\d+hia\n {2}b$/);
  });

  test('may loop over two thousand items', () => {
    expect(render("{% for i in range(2000) %}{{ 'x' if loop.last else '' }}{% endfor %}", 'hi')).toBe('x');
  });
});
