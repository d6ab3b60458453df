import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { testPath } from '../support/golden-file.ts';

/** Exit code and output of a command. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  /** Without the lines of progress. */
  readonly stderr: string;
}

/** A run of two or three updates a stage: enough to pass through every stage. */
const SHORT = [
  'sft.updates=2',
  'gflownet.updates=3',
  'gflownet.warmupUpdates=1',
  'watch.everyUpdates=0',
  'smoothing.updates=2',
  'evaluation.attacks=6',
];

/** A folder of its own with a tiny campaign in it, whose files a test may spoil. */
export interface BadInputPlace {
  readonly tiny: TinyCampaign;
  file(...names: string[]): string;
  spoil(change: (bytes: Buffer) => Buffer, ...names: string[]): void;
  /** `floodgate run tiny.yaml --name r`, with `--set` of each override. */
  run(overrides?: readonly string[], more?: readonly string[]): Promise<Ended>;
  floodgate(...args: string[]): Promise<Ended>;
}

const PROGRESS_LINE = /^[a-z][\w: -]*: [\d,]+.*\n/gm;

export async function createBadInputPlace(mainPath: string): Promise<BadInputPlace> {
  const tiny = await createTinyCampaign();
  const file = (...names: string[]): string => path.join(tiny.folder, ...names);
  const floodgate = async (...args: string[]): Promise<Ended> => {
    const all = [mainPath, ...args, '--cache-dir', file('cache')];
    const child = spawn(process.execPath, all, { cwd: tiny.folder, stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, stdout, stderr: stderr.replace(PROGRESS_LINE, '') };
  };
  return {
    tiny,
    file,
    spoil: (change, ...names) => writeFileSync(file(...names), change(readFileSync(file(...names)))),
    floodgate,
    run: (overrides = [], more = []) => {
      const sets = [...SHORT, ...overrides].flatMap((override) => ['--set', override]);
      return floodgate('run', 'tiny.yaml', '--name', 'r', '--runs-dir', 'runs', ...sets, ...more);
    },
  };
}

interface HeaderEntry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}
export type Header = Record<string, HeaderEntry>;

function readHeader(bytes: Buffer): { readonly header: Header; readonly dataStart: number } {
  const dataStart = 8 + Number(bytes.readBigUInt64LE(0));
  return { header: JSON.parse(bytes.subarray(8, dataStart).toString()) as Header, dataStart };
}

/** A safetensors file with another header over the same data. */
export function withHeader(change: (header: Header) => void): (bytes: Buffer) => Buffer {
  return (bytes) => {
    const { header, dataStart } = readHeader(bytes);
    change(header);
    const text = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    return Buffer.concat([length, text, bytes.subarray(dataStart)]);
  };
}

/** A safetensors file with one number as every value of some tensors. */
export function filledWith(value: number, tensors: readonly string[]): (bytes: Buffer) => Buffer {
  return (bytes) => {
    const { header, dataStart } = readHeader(bytes);
    const spoilt = Buffer.from(bytes);
    for (const tensor of tensors) {
      const [from, to] = (header[tensor] as HeaderEntry).data_offsets;
      for (let at = dataStart + from; at < dataStart + to; at += 4) spoilt.writeFloatLE(value, at);
    }
    return spoilt;
  };
}

/** Puts a model of the fixtures into the place. */
export function addModel(place: BadInputPlace, fixture: string, name: string): void {
  rmSync(place.file(name), { recursive: true, force: true });
  cpSync(testPath('fixtures', 'models', fixture), place.file(name), { recursive: true });
}
