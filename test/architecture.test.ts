import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '..');
const source = join(root, 'src');

/** Rooms in the order of ARCHITECTURE.md's table: a room may import only rooms above it. */
const rooms = [
  ...readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| `src/'))
    .flatMap((line) =>
      [...(line.split('|')[1] ?? '').matchAll(/`src\/([a-z-]+)\/`/g)].map((match) => match[1] as string),
    ),
];

/** Rooms within the large rooms, in the order of ARCHITECTURE.md's further tables; '' is what lies in none of them. */
const innerRooms = new Map<string, string[]>();
for (const [, cell = ''] of readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8').matchAll(
  /^\| (`[^|]*`) \|[^|]*\|$/gm,
)) {
  for (const [, house = '', room = ''] of cell.matchAll(/`([a-z-]+)\/(?:([a-z-]+)\/)?`/g)) {
    innerRooms.set(house, [...(innerRooms.get(house) ?? []), room]);
  }
}

/** Imports from outside that a room must not have, although the order would allow them, and why. */
const FORBIDDEN: Readonly<Record<string, readonly (readonly [pattern: RegExp, why: string])[]>> = {
  engine: [[/^src\/(?!base\/|engine\/)/, 'depends on base only']],
  'engine/graph': [[/^(node:fs|onnxruntime)/, 'builds graphs, runs nothing']],
  'learning/objectives': [[/^(src\/models\/|node:|onnxruntime)/, 'pure functions and plain data']],
  'learning/reward': [[/^(src\/models\/(?!model-fields)|node:|onnxruntime)/, 'pure functions and plain data']],
  'learning/replay': [[/^(src\/models\/|node:|onnxruntime)/, 'pure functions and plain data']],
  judges: [[/^src\/targets\//, 'scores texts, whoever wrote them']],
  metrics: [[/^src\/(trial|targets)\//, 'does not know where texts come from']],
  'runs/store': [[/^src\/(models|targets|judges|metrics|worlds)\//, 'holds rows']],
  studies: [
    [
      /^src\/stages\/(?!campaign|config|evaluation)(?!stage\.ts|registry\.ts|checkpoints\.ts|collection\.ts|metric-records\.ts|used-calls\.ts)/,
      'knows no single stage',
    ],
  ],
};

/** Files above all rooms. */
const ENTRIES: readonly string[] = ['src/index.ts'];

const IMPORT =
  /(?:^|[\s;}])(?:import|export)\s(?:[^'";]*?\sfrom\s)?\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)/g;
const COMMENT = /\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm;

/** Files of `src/` with what they import: paths from the root for our own files, names for packages. */
function readImports(): Map<string, string[]> {
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  return new Map(
    files.sort().map((name) => {
      const path = join(source, name);
      const text = readFileSync(path, 'utf8').replace(COMMENT, '');
      const targets = [...text.matchAll(IMPORT)].map((match) => (match[1] ?? match[2]) as string);
      return [
        relative(root, path),
        targets.map((to) => (to.startsWith('.') ? relative(root, resolve(dirname(path), to)) : to)),
      ];
    }),
  );
}

const imports = readImports();
const roomOf = (path: string): string | undefined => path.match(/^src\/([^/]+)\//)?.[1];

/** Place of a room in the order; the public entry, which nobody imports, is above all. */
const placeOf = (file: string): number => (ENTRIES.includes(file) ? rooms.length : rooms.indexOf(roomOf(file) ?? ''));

/** The rules of a file's room and of the room within. */
const rulesOf = (file: string) => [
  ...(FORBIDDEN[roomOf(file) ?? ''] ?? []),
  ...(FORBIDDEN[file.match(/^src\/([^/]+\/[^/]+)\//)?.[1] ?? ''] ?? []),
];

/** The first import cycle that a walk from any file finds, as a list of files. */
function findCycle(): string[] | undefined {
  const finished = new Set<string>();
  const walk = (file: string, trail: readonly string[]): string[] | undefined => {
    if (trail.includes(file)) return [...trail.slice(trail.indexOf(file)), file];
    if (finished.has(file)) return undefined;
    for (const to of imports.get(file) ?? []) {
      const cycle = walk(to, [...trail, file]);
      if (cycle !== undefined) return cycle;
    }
    finished.add(file);
    return undefined;
  };
  for (const file of imports.keys()) {
    const cycle = walk(file, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

describe('architecture', () => {
  it('reads the table and the imports', () => {
    expect(rooms.slice(0, 3)).toEqual(['base', 'engine', 'models']);
    expect(new Set(rooms).size).toBe(rooms.length);
    expect(imports.get('src/runs/store/run-store.ts')).toEqual(
      expect.arrayContaining(['node:fs', 'libsql', 'src/base/errors.ts', 'src/runs/store/schema.ts']),
    );
  });

  it('every file lies in a room of the table, but the public entry', () => {
    expect([...imports.keys()].filter((file) => !rooms.includes(roomOf(file) ?? ''))).toEqual(ENTRIES);
  });

  it('a room imports only rooms above it', () => {
    const upward = [...imports].flatMap(([file, targets]) =>
      targets.filter((to) => to.startsWith('src/') && placeOf(to) > placeOf(file)).map((to) => `${file} imports ${to}`),
    );
    expect(upward).toEqual([]);
  });

  it('large rooms have rooms of their own', () => {
    expect([...innerRooms.keys()]).toEqual(['engine', 'models', 'learning', 'runs', 'stages', 'studies', 'report']);
  });

  it.each([...innerRooms])('a room of %s stands in its table, and imports only rooms above it', (house, order) => {
    const isInside = (file: string): boolean => roomOf(file) === house;
    const place = (file: string): number => order.indexOf(file.match(/^src\/[^/]+\/([^/]+)\//)?.[1] ?? '');
    const inside = [...imports].filter(([file]) => isInside(file));
    expect(inside.filter(([file]) => place(file) === -1).map(([file]) => file)).toEqual([]);
    const upward = inside.flatMap(([file, targets]) =>
      targets.filter((to) => isInside(to) && place(to) > place(file)).map((to) => `${file} imports ${to}`),
    );
    expect(upward).toEqual([]);
  });

  it('a room does not import what it must know nothing of', () => {
    const offences = [...imports].flatMap(([file, targets]) =>
      rulesOf(file).flatMap(([pattern, why]) =>
        targets.filter((to) => pattern.test(to)).map((to) => `${file} imports ${to}: ${why}`),
      ),
    );
    expect(offences).toEqual([]);
  });

  it('imports our own files with their extension, and only files that exist', () => {
    const missing = [...imports].flatMap(([file, targets]) =>
      targets.filter((to) => to.startsWith('src/') && !imports.has(to)).map((to) => `${file} imports ${to}`),
    );
    expect(missing).toEqual([]);
  });

  it('no file loads at start a package that only some commands use: latePackage does it when they do', () => {
    const late = /^import (?!type\b)[^;]*? from '(onnxruntime-node|onnxruntime-common|undici|json-p3|bullmq|yaml)'/gm;
    const early = readdirSync(source, { recursive: true, encoding: 'utf8' }).flatMap((name) => {
      const text = name.endsWith('.ts') ? readFileSync(join(source, name), 'utf8') : '';
      return [...text.matchAll(late)].map(([, loaded]) => `src/${name} imports ${loaded}`);
    });
    expect(early).toEqual([]);
  });

  it('there is no import cycle', () => {
    expect(findCycle()).toBeUndefined();
  });
});
