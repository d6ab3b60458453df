import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import type { RandomStream } from '../../../src/base/random.ts';
import { loadConfig } from '../../../src/stages/campaign/config-load.ts';
import { mutateBytes } from '../byte-mutation.ts';
import { type FuzzInput, type FuzzTarget, pick } from '../fuzz-target.ts';
import { sampleOf } from '../json-mutation.ts';

const bombOf = (width: number, depth: number): string =>
  Array.from(
    { length: depth },
    (_, i) =>
      `b${i}: &b${i} [${Array(width)
        .fill(i === 0 ? 'x' : `*b${i - 1}`)
        .join(', ')}]`,
  ).join('\n');

/** Values that YAML reads as something else than they look. */
const VALUES: readonly string[] = [
  'null',
  '~',
  '',
  '.inf',
  '-.inf',
  '.nan',
  '0x7fffffff',
  '1e999',
  '-1',
  '1_000',
  '9007199254740993',
  '!!binary aGk=',
  '!!js/function "f"',
  '!<tag:x> 1',
  '&a [*a]',
  '*nowhere',
  '<<: *nowhere',
  '{__proto__: {seed: 1}}',
  '[constructor]',
  '"\\ud800"',
  '"\\0"',
  '2001-12-14t21:59:43.10-05:00',
  '| \n  a\n  b',
  '>-\n  a',
  "'it''s",
  '"open',
  '{a: b',
  '[a, b',
  '? complex\n: key',
  '"a": 1, "a": 2',
  '%YAML 9.9',
  '---\na: 1\n---\nb: 2',
];

const anyYaml = fc.jsonValue({ maxDepth: 3 });

function mutateYaml(text: string, stream: RandomStream): string {
  const lines = text.split('\n');
  for (let left = 1 + stream.nextInt(3); left > 0; left--) {
    const at = stream.nextInt(lines.length);
    const line = lines[at] as string;
    const colon = line.indexOf(':');
    const indent = /^\s*/.exec(line)?.[0] ?? '';
    switch (stream.nextInt(9)) {
      case 0:
        lines.splice(at, 0, line);
        break;
      case 1:
        lines.splice(at, 1);
        break;
      case 2:
        lines.splice(
          at,
          0,
          `${indent}${pick(stream, ['sead', '__proto__', 'constructor', 'toString', 'x'.repeat(500)])}: 1`,
        );
        break;
      case 3:
        lines[at] = `${pick(stream, [' ', '\t', '  - ', '- '])}${line}`;
        break;
      case 4: {
        const depth = stream.nextInt(20) === 0 ? 3_000 : 1 + stream.nextInt(60);
        lines[at] =
          `${line.slice(0, colon + 1)} ${pick(stream, ['[', '{a: ', '- ', '? ', '&a ', '!!seq ']).repeat(depth)}`;
        break;
      }
      case 5:
        lines.push(bombOf(2 + stream.nextInt(9), 2 + stream.nextInt(9)), `seed: *b${stream.nextInt(9)}`);
        break;
      case 6:
        lines[at] = `${line.slice(0, colon + 1)} ${JSON.stringify(sampleOf(anyYaml, stream))}`;
        break;
      default:
        lines[at] = `${line.slice(0, colon + 1)} ${pick(stream, VALUES)}`;
    }
  }
  return lines.join('\n');
}

const OVERRIDES: readonly string[] = [
  'seed=1',
  'seed=[',
  '__proto__.polluted=1',
  'constructor.prototype.polluted=1',
  'judges.evaluation[0].kind=profanity',
  'judges.evaluation.99999999.kind=profanity',
  'gflownet.updates=*a',
  'a.b.c.d.e=1',
  '=1',
  'seed',
];

export function createConfigTarget(root: string): FuzzTarget {
  const read = (name: string): string => readFileSync(path.join(root, 'examples', name), 'utf8');
  const corpus = [read('demo.yaml'), read('smollm2.yaml')];
  return {
    name: 'config',
    codes: ['config', 'usage'],
    baseBytes: 16 * 1024 * 1024,
    make: (stream): FuzzInput => {
      const text = pick(stream, corpus);
      const isText = stream.nextInt(4) > 0;
      const bytes = isText ? Buffer.from(mutateYaml(text, stream)) : mutateBytes(Buffer.from(text), stream);
      return { bytes, variant: stream.nextInt(3 * OVERRIDES.length) };
    },
    parse: async ({ bytes, variant }, folder) => {
      const place = path.join(folder, 'config.yaml');
      writeFileSync(place, bytes);
      const override = OVERRIDES[variant];
      await loadConfig(place, override === undefined ? [] : [override]);
    },
    check: () => {
      if ('polluted' in {}) throw new Error('Object.prototype was written to');
    },
  };
}
