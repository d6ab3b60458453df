import { isSafeFileName } from './file-name.ts';
import type { IndexLink } from './index-page.ts';
import { normalizeProject, type WheelSpec } from './model-spec.ts';

/** Name of a wheel (PEP 427): distribution, version, perhaps a build number, then its three tags. */
const WHEEL_NAME =
  /^([A-Za-z0-9._]+)-([A-Za-z0-9._!+]+)(?:-(\d[A-Za-z0-9_.]*))?-([A-Za-z0-9._]+)-([A-Za-z0-9._]+)-([A-Za-z0-9._]+)\.whl$/;

export interface WheelName {
  readonly project: string;
  readonly version: string;
  readonly build: number;
  /** Runs on every system: `none-any`. Wheels that only carry data do. */
  readonly isPure: boolean;
}

/** Parses the file name of a wheel; undefined for other files and for names that are not safe to create. */
export function parseWheelName(filename: string): WheelName | undefined {
  const match = isSafeFileName(filename) && !filename.includes('/') ? WHEEL_NAME.exec(filename) : null;
  if (match === null) return undefined;
  const [, project = '', version = '', build = '0', , abi, platform] = match;
  return {
    project: normalizeProject(project),
    version,
    build: Number.parseInt(build, 10),
    isPure: abi === 'none' && platform === 'any',
  };
}

const VERSION = /^v?(?:(\d+)!)?(\d+(?:\.\d+)*)(.*)$/;
const SPELLINGS: readonly (readonly [RegExp, string])[] = [
  [/alpha/g, 'a'],
  [/beta/g, 'b'],
  [/preview|pre|rc|c(?=\d|$)/g, 'rc'],
  [/rev|(?<![a-z])r(?=\d)/g, 'post'],
];

/** One spelling of a version (PEP 440): `1.0`, `v1.0.0` and `1` are one. */
export function normalizeVersion(text: string): string {
  const match = VERSION.exec(text.trim().toLowerCase());
  if (match === null) return text;
  const [, epoch = '0', release = '', rest = ''] = match;
  const numbers = release.split('.').map((part) => part.replace(/^0+(?=\d)/, ''));
  while (numbers.length > 1 && numbers.at(-1) === '0') numbers.pop();
  const [pre = '', local] = rest.split('+');
  const suffix = SPELLINGS.reduce((word, [from, to]) => word.replace(from, to), pre.replace(/[-_.]/g, ''));
  return `${epoch}!${numbers.join('.')}${suffix}${local === undefined ? '' : `+${local.replace(/[-_]/g, '.')}`}`;
}

/** A wheel that fits a spec, from one place. */
export interface WheelCandidate {
  readonly link: IndexLink;
  readonly name: WheelName;
}

/** The wheels of a page that have this project and version. */
export function candidatesOf(links: readonly IndexLink[], spec: WheelSpec): readonly WheelCandidate[] {
  const version = normalizeVersion(spec.version);
  return links.flatMap((link) => {
    const name = parseWheelName(link.filename);
    if (name?.project !== spec.project || normalizeVersion(name.version) !== version) return [];
    return [{ link, name }];
  });
}

/**
 * Sorts candidates by preference and leaves out those that cannot be meant: with `sha256`, every file that lists
 * another one. Files that were not withdrawn come first, then those for every system, then the highest build.
 */
export function rankCandidates(
  candidates: readonly WheelCandidate[],
  sha256: string | undefined,
): readonly WheelCandidate[] {
  const possible = candidates.filter(({ link }) => sha256 === undefined || (link.sha256 ?? sha256) === sha256);
  const rank = ({ link, name }: WheelCandidate): number =>
    (sha256 !== undefined && link.sha256 === sha256 ? 0 : 4) +
    (link.yanked === undefined ? 0 : 2) +
    (name.isPure ? 0 : 1);
  return [...possible].sort((a, b) => rank(a) - rank(b) || b.name.build - a.name.build);
}
