import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import Ajv from 'ajv';

const require = createRequire(import.meta.url);
const readJson = (path: string): object => JSON.parse(readFileSync(require.resolve(path), 'utf8'));

const ajv = new Ajv({ schemaId: 'id', meta: false, allErrors: true });
ajv.addMetaSchema(readJson('ajv/lib/refs/json-schema-draft-04.json'));

/**
 * The schema of SARIF 2.1.0 as OASIS approved it, in the copy of the schema store (`rtm.5`). The first errata also
 * want a start in each region; the tests that read a line number see to that.
 */
const validate = ajv.compile(readJson('@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json'));

/** Errors of a SARIF log by the official schema, a line each; empty for a valid log. */
export function sarifErrors(log: unknown): string[] {
  if (validate(log)) return [];
  return (validate.errors ?? []).map(({ dataPath, message }) => `${dataPath || '(log)'} ${message}`);
}
