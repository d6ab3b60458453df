import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { listConfigKeys } from '../../../src/runs/config/config-keys.ts';
import { configJsonSchema, configReference, configSchema } from '../../../src/stages/campaign/config-schema.ts';

describe('listConfigKeys', () => {
  const keys = new Map(listConfigKeys(configSchema()).map((key) => [key.path, key]));

  it('knows keys of every kind of a section, once', () => {
    expect(keys.get('target.kind')).toMatchObject({
      type: 'local | openai | http | ai-sdk | module | command | scripted | world | regions',
      defaultText: undefined,
    });
    expect(keys.get('gflownet.replay.nearDuplicate.threshold')?.description).toContain('cosine');
    expect(keys.get('judges.evaluation[].kind')?.type).toContain('profanity | tox-block');
  });

  it('ends at a schema inside itself', () => {
    expect(keys.has('judges.training.members[].judge')).toBe(true);
    expect(keys.has('judges.training.members[].judge.members')).toBe(false);
  });

  it('knows defaults and types', () => {
    expect(keys.get('gflownet.batchSize')).toMatchObject({ type: 'whole number', defaultText: '16' });
    expect(keys.get('seeds.limit')).toMatchObject({ optional: true, defaultText: undefined });
  });
});

it('docs/config.md holds the table of every key as the schema has it', () => {
  const path = new URL('../../../docs/config.md', import.meta.url);
  const page = readFileSync(path, 'utf8');
  const start = page.indexOf('| key | type |');
  if (process.env.UPDATE_DOCS) writeFileSync(path, `${page.slice(0, start)}${configReference()}\n`);
  else expect(page.slice(start).trimEnd()).toBe(configReference());
});

it('the JSON Schema is closed and states what is required', () => {
  const schema = configJsonSchema() as { required: string[]; additionalProperties: boolean };
  expect(schema.required.sort()).toEqual(['attacker', 'authorisation', 'judges', 'seeds', 'target']);
  expect(schema.additionalProperties).toBe(false);
  expect(JSON.stringify(schema)).toContain('"ctb"');
});
