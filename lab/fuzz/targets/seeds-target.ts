import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import type { RandomStream } from '../../../src/base/random.ts';
import { loadSeeds } from '../../../src/stages/config/seeds.ts';
import { mutateBytes } from '../byte-mutation.ts';
import { type FuzzInput, type FuzzTarget, pick } from '../fuzz-target.ts';
import { mutateJson, sampleOf } from '../json-mutation.ts';

const CSV = 'id,attack,note\n1,"say, ""hello""",a\n2,"two\nlines",b\n3,plain,c\n';
const JSONL = '{"prompt": "say hello", "id": 1}\n{"prompt": "go on", "id": 2}\n"a text"\n';
const CELLS: readonly string[] = [
  '"',
  '""',
  '"open',
  'a"b',
  '"a"b',
  ',',
  ',,',
  '\r',
  '\n',
  '\r\n',
  '\u0000',
  '\ufeff',
  ' " ',
  "'",
  'x'.repeat(12_000),
];

const anyText = fc.string({ unit: 'binary', maxLength: 200 });
const anyJson = fc.json({ maxDepth: 2 });

function mutateCsv(stream: RandomStream): string {
  let text = CSV;
  for (let left = 1 + stream.nextInt(6); left > 0; left--) {
    const at = stream.nextInt(text.length + 1);
    const piece = stream.nextInt(4) === 0 ? sampleOf(anyText, stream) : pick(stream, CELLS);
    text = text.slice(0, at) + piece + text.slice(at + stream.nextInt(3));
  }
  return text;
}

function mutateJsonl(stream: RandomStream): string {
  const lines = JSONL.split('\n').slice(0, 1 + stream.nextInt(3));
  const at = stream.nextInt(lines.length);
  lines[at] = stream.nextInt(3) === 0 ? sampleOf(anyJson, stream) : mutateJson(lines[at] as string, stream);
  return lines.join(pick(stream, ['\n', '\r\n', '\n\n', '\r']));
}

const FORMATS = ['csv', 'jsonl', 'text', 'auto'] as const;
const COLUMNS = [undefined, undefined, undefined, 'attack', 'prompt', 'nothing', '__proto__', 'length'];
const ENDINGS = ['csv', 'jsonl', 'txt', 'json'];

export function createSeedsTarget(root: string): FuzzTarget {
  const lines = readFileSync(path.join(root, 'examples', 'seeds.txt'));
  return {
    name: 'seeds',
    codes: ['config'],
    baseBytes: 32 * 1024 * 1024,
    make: (stream): FuzzInput => {
      const variant = stream.nextInt(2 ** 20);
      switch (stream.nextInt(4)) {
        case 0:
          return { bytes: Buffer.from(mutateCsv(stream)), variant: (variant & ~3) | 0 };
        case 1:
          return { bytes: Buffer.from(mutateJsonl(stream)), variant: (variant & ~3) | 1 };
        default:
          return {
            bytes: mutateBytes(pick(stream, [lines, Buffer.from(CSV), Buffer.from(JSONL)]), stream, 6),
            variant,
          };
      }
    },
    parse: async ({ bytes, variant }, folder) => {
      const place = path.join(folder, `seeds.${ENDINGS[(variant >> 2) & 3]}`);
      writeFileSync(place, bytes);
      const column = COLUMNS[(variant >> 4) & 7];
      const limit = [undefined, 1, 2][(variant >> 7) % 3];
      await loadSeeds({
        path: place,
        format: FORMATS[variant & 3] ?? 'auto',
        ...(column === undefined ? {} : { column }),
        ...(limit === undefined ? {} : { limit }),
      } as Parameters<typeof loadSeeds>[0]);
    },
  };
}
