import { resolve } from 'node:path';
import { FloodgateError } from '../base/errors.ts';
import { judgeKinds } from '../judges/registry.ts';
import { targetKindOf } from '../targets/registry.ts';
import type { TargetConfig } from '../targets/target-kind.ts';

/** Code and files that configs from the queue may name. */
export interface Permissions {
  /** Files and command lines that may be run. */
  readonly code: readonly string[];
  /** Files of keys and certificates that may be read. */
  readonly files: readonly string[];
}

/** A value of a config that names code or a file. */
interface Named {
  /** Dotted, for messages. */
  readonly key: string;
  readonly text: string;
}

const textOf = (value: unknown): string => (Array.isArray(value) ? value.join(' ') : String(value));

function namedBy(config: object, keys: readonly string[], place: string): Named[] {
  return Object.entries(config).flatMap(([key, value]) =>
    keys.includes(key) && value !== undefined ? [{ key: `${place}.${key}`, text: textOf(value) }] : [],
  );
}

/** Code in a judge's config, at any depth: judges hold judges. */
function judgeCode(config: unknown, place: string): Named[] {
  if (config === null || typeof config !== 'object') return [];
  const kind = judgeKinds.all().find(({ name }) => 'kind' in config && config.kind === name);
  const inside = Object.entries(config).flatMap(([key, value]) => judgeCode(value, `${place}.${key}`));
  return [...namedBy(config, kind?.codeKeys ?? [], place), ...inside];
}

function refuse({ key, text }: Named, what: string, option: string): never {
  throw new FloodgateError('config', `${key}: a worker ${what} for the queue, got ${text}`, {
    hint: `where that is meant, start the worker with ${option} ${JSON.stringify(text)}`,
  });
}

/** Code is named by the path of its file, or by the whole command line. */
function isAllowed(text: string, allowed: readonly string[]): boolean {
  return allowed.some((each) => each === text || resolve(each) === resolve(text));
}

/**
 * Refuses code and files that the worker was not started for. Nothing of the config was opened before.
 * @throws FloodgateError `config` with the option that allows it.
 */
export function checkPermissions(
  { target, judges }: { readonly target: TargetConfig; readonly judges: readonly object[] },
  { code, files }: Permissions,
): void {
  const { codeKeys = [], pathKeys = [] } = targetKindOf(target);
  const named = [
    ...namedBy(target, codeKeys, 'target'),
    ...judges.flatMap((judge, i) => judgeCode(judge, `judges.${i}`)),
  ];
  for (const each of named) if (!isAllowed(each.text, code)) refuse(each, 'runs no code', '--allow-local-code');
  const readKeys = pathKeys.filter((key) => !codeKeys.includes(key));
  for (const each of namedBy(target, readKeys, 'target'))
    if (!isAllowed(each.text, files)) refuse(each, 'reads no files of keys', '--allow-file');
}
