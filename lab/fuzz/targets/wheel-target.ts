import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { RandomStream } from '../../../src/base/random.ts';
import { unpackModel, type WheelPlaces } from '../../../src/models/sources/wheel-unpack.ts';
import { mutateBytes } from '../byte-mutation.ts';
import { type FuzzInput, type FuzzTarget, pick } from '../fuzz-target.ts';
import { writeZip, type ZipMember } from '../zip-writer.ts';

/** An absolute place that members try to reach. */
const ESCAPE = path.join(tmpdir(), 'floodgate-fuzz-escape');

const NAMES: readonly string[] = [
  'm/model.safetensors',
  'm/config.json',
  'm/tokenizer.json',
  'm/1_Pooling/config.json',
  'm/1_Pooling',
  'm/onnx/model.onnx',
  'm/a.gguf',
  'model.safetensors',
  'config.json',
  '../config.json',
  '../../config.json',
  'm/../../config.json',
  `${ESCAPE}/config.json`,
  '/model.safetensors',
  'C:\\model.safetensors',
  'm\\config.json',
  'm//config.json',
  './config.json',
  'm/config.json/',
  'm/config.json/x',
  'm/\u0000config.json',
  'CON/model.safetensors',
  `m/${'x'.repeat(300)}/model.safetensors`,
  `${'d/'.repeat(50)}model.safetensors`,
  '.../model.safetensors',
  '../model.safetensors',
];

function anyMember(stream: RandomStream): ZipMember {
  const isLink = stream.nextInt(6) === 0;
  const data = isLink
    ? Buffer.from(pick(stream, ['/etc', '..', '../..', ESCAPE]))
    : Buffer.alloc(stream.nextInt(4) === 0 ? stream.nextInt(20_000) : stream.nextInt(40), 'x');
  return {
    name: stream.nextInt(3) === 0 ? pick(stream, NAMES.slice(9)) : pick(stream, NAMES.slice(0, 9)),
    data,
    isDeflated: stream.nextInt(2) === 0,
    ...(isLink ? { mode: 0o120777 } : {}),
    ...(stream.nextInt(8) === 0 ? { claimedSize: pick(stream, [0, 1, data.length + 1, 0xffffffff, 2 ** 31]) } : {}),
  };
}

const HONEST: readonly ZipMember[] = [
  { name: 'm/__init__.py', data: Buffer.from('raise SystemExit'), isDeflated: true },
  { name: 'm/model.safetensors', data: Buffer.alloc(500, 'w'), isDeflated: true },
  { name: 'm/config.json', data: Buffer.from('{}'), isDeflated: false },
  { name: 'm/1_Pooling/config.json', data: Buffer.from('{}'), isDeflated: true },
];

/** Everything below `folder`, links not followed. */
function treeOf(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const place = path.join(folder, entry.name);
    return entry.isDirectory() ? [place, ...treeOf(place)] : [place];
  });
}

/** Fails when anything was written outside the given folders, or is no plain file: the finding that matters most. */
function checkTree(sandbox: string, given: readonly string[]): void {
  for (const place of treeOf(sandbox)) {
    const isInside = given.some((folder) => place === folder || place.startsWith(folder + path.sep));
    const isParent = given.some((folder) => folder.startsWith(place + path.sep));
    if (!isInside && !isParent) throw new Error(`written outside the cache: ${place}`);
    const found = lstatSync(place);
    if (!found.isFile() && !found.isDirectory()) throw new Error(`neither file nor folder: ${place}`);
  }
  if (existsSync(ESCAPE)) throw new Error(`written outside the cache: ${ESCAPE}`);
}

/** Some folders deep, so that names with `..` have somewhere to go that is looked at. */
function placesIn(folder: string): WheelPlaces {
  const sandbox = path.join(folder, 'a', 'b', 'c');
  return {
    wheelPath: path.join(sandbox, 'fuzz.whl'),
    scratchFolder: path.join(sandbox, 'cache', 'scratch'),
    outFolder: path.join(sandbox, 'cache', 'out'),
  };
}

export function createWheelTarget(root: string): FuzzTarget {
  const files = ['sample.zip', 'slip.zip'].map((name) => readFileSync(path.join(root, 'test/golden/formats', name)));
  const corpus = [writeZip(HONEST), writeZip(HONEST), ...files];
  const spec = { kind: 'wheel', project: 'fuzz', version: '1.0' } as const;
  return {
    name: 'wheel',
    codes: ['format', 'source'],
    baseBytes: 8 * 1024 * 1024,
    make: (stream): FuzzInput => {
      const members = Array.from({ length: 1 + stream.nextInt(5) }, () => anyMember(stream));
      const withModel = stream.nextInt(2) === 0 ? [...HONEST.slice(1, 3), ...members] : members;
      switch (stream.nextInt(3)) {
        case 0:
          return { bytes: writeZip(withModel), variant: 0 };
        case 1:
          return { bytes: mutateBytes(writeZip(withModel), stream, 2), variant: 0 };
        default:
          return { bytes: mutateBytes(pick(stream, corpus), stream), variant: 0 };
      }
    },
    parse: async ({ bytes }, folder) => {
      const places = placesIn(folder);
      mkdirSync(places.scratchFolder, { recursive: true });
      writeFileSync(places.wheelPath, bytes);
      await unpackModel(places, spec);
    },
    check: (folder) => {
      checkTree(folder, Object.values(placesIn(folder)));
      rmSync(path.join(folder, 'a'), { recursive: true, force: true });
    },
  };
}
