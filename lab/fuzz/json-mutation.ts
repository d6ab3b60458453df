import fc from 'fast-check';
import type { RandomStream } from '../../src/base/random.ts';
import { pick } from './fuzz-target.ts';

/** JSON text that replaces a value: what a reader of typed fields does not expect there. */
const HOSTILE: readonly string[] = [
  'null',
  'true',
  '""',
  '"F8_E4M3"',
  '"constructor"',
  '"__proto__"',
  '"\\ud800"',
  '"\\u0000"',
  '[]',
  '{}',
  '[[]]',
  '-1',
  '-0',
  '0.5',
  '1e308',
  '1e999',
  '-1e999',
  '9007199254740992',
  '9007199254740991',
  '18446744073709551616',
  '4294967296',
  '2147483648',
  '{"__proto__":{"type":"BPE"}}',
  '{"type":"Sequence"}',
  '{"length":1e9}',
];

/** Deep enough for the stack of a reader that calls itself. */
const MAX_NEST = 12_000;

const anyJson = fc.json({ maxDepth: 3 });

/** A value of fast-check's, from one number of ours. */
export function sampleOf<T>(arbitrary: fc.Arbitrary<T>, stream: RandomStream): T {
  return fc.sample(arbitrary, { numRuns: 1, seed: stream.nextUint32() | 0 })[0] as T;
}

function hostileText(stream: RandomStream): string {
  switch (stream.nextInt(10)) {
    case 0: {
      const depth = 1 + stream.nextInt(stream.nextInt(8) === 0 ? MAX_NEST : 100);
      return `${'['.repeat(depth)}${']'.repeat(depth)}`;
    }
    case 1: {
      const depth = 1 + stream.nextInt(stream.nextInt(8) === 0 ? MAX_NEST : 100);
      return `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;
    }
    case 2:
      return JSON.stringify(pick(stream, ['a', '\u0000', '(', '𝔘', '\n']).repeat(1 + stream.nextInt(5_000)));
    case 3:
      return sampleOf(anyJson, stream);
    default:
      return pick(stream, HOSTILE);
  }
}

/** Ranges of the values, keys and members of a JSON text; strings are stepped over whole. */
function rangesOf(text: string): { values: [number, number][]; members: [number, number][] } {
  const values: [number, number][] = [];
  const members: [number, number][] = [];
  const opens: number[] = [];
  let memberStart = -1;
  for (const match of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[[{]|[\]}]|-?[\d.eE+]+|true|false|null/g)) {
    const [token, colon] = match;
    const end = match.index + token.length;
    if (token === '[' || token === '{') opens.push(match.index);
    else if (token === ']' || token === '}') {
      const open = opens.pop();
      if (open !== undefined) values.push([open, end]);
    } else if (colon !== undefined) memberStart = match.index;
    else {
      values.push([match.index, end]);
      if (memberStart >= 0) members.push([memberStart, end]);
      memberStart = -1;
    }
  }
  return { values, members };
}

/** The JSON text with one to `most` of its values replaced, or members repeated or removed. */
export function mutateJson(text: string, stream: RandomStream, most = 3): string {
  let result = text;
  for (let left = 1 + stream.nextInt(most); left > 0; left--) {
    const { values, members } = rangesOf(result);
    const member = members.length === 0 ? undefined : pick(stream, members);
    const value = values.length === 0 ? undefined : pick(stream, values);
    const kind = stream.nextInt(6);
    if (member !== undefined && kind === 0) {
      const [start, end] = member;
      result = `${result.slice(0, start)}${result.slice(start, end)},${result.slice(start)}`;
    } else if (member !== undefined && kind === 1) {
      result = result.slice(0, member[0]) + result.slice(member[1]).replace(/^\s*,/, '');
    } else if (values.length > 1 && kind === 2) {
      const [from, to] = pick(stream, values);
      const [start, end] = value as [number, number];
      result = result.slice(0, start) + result.slice(from, to) + result.slice(end);
    } else if (value !== undefined) {
      result = result.slice(0, value[0]) + hostileText(stream) + result.slice(value[1]);
    }
    if (result.length > 200_000) break;
  }
  return result;
}
