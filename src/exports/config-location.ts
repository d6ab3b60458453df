import { basename, isAbsolute, relative, resolve, sep } from 'node:path';
import { readConfigText } from '../runs/config/config-file.ts';
import type { RunFolder } from '../runs/run-folder.ts';

/** A config file as a reader's tools name it. */
export interface ConfigLocation {
  /** Relative, with slashes. */
  readonly uri: string;
  /** Line of `target`, from 1. */
  readonly line: number;
}

/** The key whose line is meant, as YAML and JSON write it at the beginning of a line. */
const TARGET_KEY = /^\s{0,2}(["']?)target\1\s*:/m;

function lineOfTarget(text: string): number {
  const found = TARGET_KEY.exec(text);
  return found === null ? 1 : text.slice(0, found.index).split('\n').length;
}

/** The config inside a run folder: the settings as the run had them. */
export async function ownLocation({ configPath }: RunFolder): Promise<ConfigLocation> {
  return { uri: basename(configPath), line: lineOfTarget(await readConfigText(configPath)) };
}

/**
 * A config file as it is named from the present folder; by its base name where it is elsewhere, since no export holds a
 * path of this machine.
 * @throws FloodgateError `config` when it cannot be read.
 */
export async function configLocation(path: string): Promise<ConfigLocation> {
  const line = lineOfTarget(await readConfigText(path));
  const way = relative(process.cwd(), resolve(path));
  const isInside = way !== '' && !isAbsolute(way) && !/^\.\.([/\\]|$)/.test(way);
  return {
    uri: isInside ? way.split(sep).map(encodeURIComponent).join('/') : encodeURIComponent(basename(path)),
    line,
  };
}
