import type { RandomStream } from '../../src/base/random.ts';
import { pick } from './fuzz-target.ts';

/** Defined in every template, so that most expressions have a value. */
const DEFINED = "{% set x = 'a' %}{% set m = messages[0] %}{% set ns = namespace(x=1) %}";

const NAMES: readonly string[] = [
  'x',
  'x',
  'm.content',
  "m['content']",
  'm',
  'm.role',
  'messages',
  'messages[1:]',
  'messages[-1]',
  'ns.x',
  'bos_token',
  'add_generation_prompt',
  'loop.index0',
  'tools',
  'nothing',
];

const LITERALS: readonly string[] = [
  "''",
  "'a'",
  "'user'",
  "','",
  '0',
  '1',
  '-1',
  '7',
  '1.5',
  '9999',
  '1e9',
  'true',
  'none',
  '[]',
  '[1, 2, 3]',
  "{'a': 1}",
  "'\\n'",
];

const FILTERS: readonly string[] = [
  'trim',
  'upper',
  'lower',
  'length',
  'list',
  'string',
  'tojson',
  'tojson(indent=4)',
  'first',
  'last',
  'join',
  "join(',')",
  'reverse',
  'sort',
  'unique',
  'items',
  'default(1)',
  'int',
  'float',
  'abs',
  'title',
  'capitalize',
  'safe',
  'indent',
  "replace('a', 'aa')",
  "selectattr('role', 'equalto', 'user')",
  "map(attribute='content')",
  "rejectattr('role')",
  'nonsense',
];

const METHODS: readonly string[] = [
  'upper()',
  'strip()',
  "split(',')",
  "split('')",
  "replace('a', 'aaaa')",
  "startswith('a')",
  'items()',
  'keys()',
  'values()',
  "get('a')",
  'title()',
  'rstrip()',
  'append(1)',
  'constructor',
  '__proto__',
  'content',
  'role',
];

const OPERATORS: readonly string[] = [
  '+',
  '-',
  '*',
  '/',
  '//',
  '%',
  '**',
  '~',
  '~',
  '==',
  '!=',
  '<',
  'in',
  'not in',
  'and',
  'or',
];

const TESTS: readonly string[] = [
  'defined',
  'undefined',
  'none',
  'string',
  'mapping',
  'iterable',
  'odd',
  "equalto('a')",
  'x',
];

const CALLS: readonly string[] = ['strftime_now', 'range', 'namespace', 'raise_exception', 'dict', 'f'];

function expression(stream: RandomStream, depth: number): string {
  if (depth === 0) return stream.nextInt(2) === 0 ? pick(stream, NAMES) : pick(stream, LITERALS);
  const inner = () => (depth === 1 ? expression(stream, 0) : `(${expression(stream, depth - 1)})`);
  switch (stream.nextInt(10)) {
    case 0:
      return `${inner()} ${pick(stream, OPERATORS)} ${inner()}`;
    case 1:
      return `${inner()} | ${pick(stream, FILTERS)}`;
    case 2:
      return `(${inner()}).${pick(stream, METHODS)}`;
    case 3:
      return stream.nextInt(2) === 0 ? `${inner()}[${inner()}]` : `${inner()} is ${pick(stream, TESTS)}`;
    case 4:
      return `${pick(stream, NAMES)}[${inner()}:${inner()}]`;
    case 5:
      return `${inner()} if ${inner()} else ${inner()}`;
    case 6:
      return `range(${inner()})`;
    case 7:
      return `[${inner()}, ${inner()}]`;
    case 8:
      return stream.nextInt(4) === 0 ? `${pick(stream, CALLS)}(${inner()})` : `(${inner()} ~ ${inner()})`;
    default:
      return inner();
  }
}

function statement(stream: RandomStream, depth: number): string {
  const value = () => expression(stream, stream.nextInt(3));
  const inner = () => statements(stream, depth - 1);
  switch (stream.nextInt(depth > 0 ? 10 : 4)) {
    case 0:
      return pick(
        stream,
        stream.nextInt(30) === 0 ? ['}}', '{%', '{%- else %}'] : ['text ', '\n', '<|im_start|>', '{# note #}'],
      );
    case 1:
    case 2:
      return `{{ ${value()} }}`;
    case 3:
      return `{% set ${pick(stream, ['x', 'x', 'm', 'ns.x', 'messages'])} = ${value()} %}`;
    case 4:
    case 5:
      return `{% for m in ${pick(stream, ['messages', 'messages', 'messages | reverse', value()])} %}${inner()}{% endfor %}`;
    case 6:
      return `{% for i in range(${stream.nextInt(30)}) %}{% set x = ${pick(stream, ['x ~ x', 'x + x', '[x, x]', value()])} %}${inner()}{% endfor %}`;
    case 7:
      return `{% if ${value()} %}${inner()}{% elif ${value()} %}${inner()}{% endif %}`;
    case 8:
      return `{% macro f(a, b=${value()}) %}${inner()}{% endmacro %}{{ f(${value()}) }}`;
    default:
      return inner();
  }
}

function statements(stream: RandomStream, depth: number): string {
  return Array.from({ length: 1 + stream.nextInt(3) }, () => statement(stream, depth)).join('');
}

/** Templates that grow texts and lists, walk long, or call themselves. */
const BOMBS: readonly string[] = [
  `{% set x = 'a' %}${'{% set x = x ~ x %}'.repeat(24)}{% for i in range(20) %}{% set y = x.upper() %}{% endfor %}`,
  `{% set x = [1] %}${'{% set x = x + x %}'.repeat(22)}{{ x | length }}`,
  `{% set x = 'a,' %}${'{% set x = x ~ x %}'.repeat(20)}{{ x.split(',') | length }}`,
  '{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}',
  '{% macro f(a) %}{{ f(a) }}{% endmacro %}{{ f(1) }}',
  `${'{% if true %}'.repeat(2_000)}a${'{% endif %}'.repeat(2_000)}`,
  `{{ ${'('.repeat(3_000)}1${')'.repeat(3_000)} }}`,
  `{{ ${'['.repeat(3_000)}${']'.repeat(3_000)} | tojson(indent=8) }}`,
];

/** A chat template in Jinja's grammar; one in 300 is a bomb. */
export function anyTemplate(stream: RandomStream): string {
  if (stream.nextInt(300) === 0) return pick(stream, BOMBS);
  return DEFINED + statements(stream, 3);
}
