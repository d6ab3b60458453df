import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { loadTaxonomy } from '../../src/report/taxonomy/taxonomy.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { parseTargetsFile } from '../../src/studies/transfer/transfer-config.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';
import { root } from './doc-blocks.ts';

type Plain = Readonly<Record<string, unknown>>;

const base = parse(minimalConfigText) as Plain;
const place = { fileName: 'of the document', folder: root };

/** A whole config, or sections over a small one that is valid. A world brings its own attacker, target and judges. */
function checkConfig(sections: Plain): void {
  const isWhole = 'world' in sections || Object.keys(base).every((key) => key in sections);
  parseConfig(stringify(isWhole ? sections : { ...base, ...sections }), place);
}

function checkJudge(judge: Plain): void {
  const evaluation = [{ kind: judge.kind === 'tox-block' ? 'profanity' : 'tox-block' }];
  checkConfig({ judges: { training: judge, evaluation } });
}

async function checkTaxonomy(_: Plain, text: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'floodgate-taxonomy-'));
  try {
    const file = join(folder, 'table.yaml');
    writeFileSync(file, text);
    await loadTaxonomy(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Other programs' files: only that they are YAML is known here. */
const parsedOnly = (): void => undefined;

type Check = (content: Plain, text: string) => void | Promise<void>;

/** Kinds of YAML. A block is of the file that its first line names as a comment, else its keys tell. */
export const YAML_KINDS = {
  config: checkConfig,
  judge: checkJudge,
  targets: (_, text) => void parseTargetsFile(text, place),
  taxonomy: checkTaxonomy,
  other: parsedOnly,
} satisfies Record<string, Check>;
export type YamlKind = keyof typeof YAML_KINDS;

const KIND_OF_FILE: Readonly<Record<string, YamlKind>> = {
  'floodgate.yaml': 'config',
  'house.yaml': 'taxonomy',
  'promptfooconfig.yaml': 'other',
  'garak.yaml': 'other',
};

/** @returns undefined for a file that nobody has given a kind */
export function yamlKind(text: string, content: Plain): YamlKind | undefined {
  const [, file] = /^# (\S+\.ya?ml)\n/.exec(text) ?? [];
  if (file !== undefined) return KIND_OF_FILE[file];
  if ('kind' in content) return 'judge';
  return 'targets' in content ? 'targets' : 'config';
}

const PATH = /^\.\/(?:examples|lab|assets)\//;

/** Files of ours that the values name. */
function missingFiles(value: unknown): string[] {
  if (typeof value === 'string') return PATH.test(value) && !existsSync(join(root, value)) ? [value] : [];
  return value === null || typeof value !== 'object' ? [] : Object.values(value).flatMap(missingFiles);
}

/** Returns the problems of a block of YAML, a line each. */
export async function yamlProblems(text: string): Promise<string[]> {
  try {
    const content: unknown = parse(text);
    if (content === null || typeof content !== 'object') return ['it holds no keys'];
    const kind = yamlKind(text, content as Plain);
    if (kind === undefined) return ['its first line names a file that KIND_OF_FILE does not know'];
    const check: Check = YAML_KINDS[kind];
    await check(content as Plain, text);
    return missingFiles(content).map((path) => `${path}: the repository has no such file`);
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}
