import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');

/** Rows of the map's table: [step, code, tests]. `\|` inside a cell is no border. */
function readRows(): string[][] {
  return readFileSync(join(root, 'docs/paper-map.md'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| step |'))
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

const quoted = (cell: string | undefined): string[] =>
  [...(cell ?? '').matchAll(/`([^`]+)`/g)].map((match) => match[1] as string);

/** Whether a TypeScript file exports something under this name. */
function isExported(file: string, symbol: string): boolean {
  const declaration = new RegExp(
    `^export (?:async )?(?:abstract )?(?:function|class|const|interface|type) ${symbol}\\b`,
    'm',
  );
  return existsSync(join(root, file)) && declaration.test(readFileSync(join(root, file), 'utf8'));
}

const rows = readRows();

describe('docs/paper-map.md', () => {
  it('has rows of step, code and tests', () => {
    expect(rows.length).toBeGreaterThan(30);
    expect(rows.filter((row) => row.length !== 3)).toEqual([]);
  });

  it('names code as file#symbol, each of which exists', () => {
    const references = rows.map(([step, code]) => [step, quoted(code)] as const);
    expect(references.filter(([, code]) => code.length === 0)).toEqual([]);
    const missing = references.flatMap(([step, code]) =>
      code
        .filter((reference) => {
          const [file = '', symbol = ''] = reference.split('#');
          return !/^(?:src|lab)\/.*\.ts$/.test(file) || !/^\w+$/.test(symbol) || !isExported(file, symbol);
        })
        .map((reference) => `${step}: ${reference}`),
    );
    expect(missing).toEqual([]);
  });

  it('names tests that exist, or says that there is none', () => {
    const wrong = rows
      .filter(([, , tests]) => tests !== '–' && quoted(tests).length === 0)
      .map(([step]) => `${step}: no test named`);
    const missing = rows.flatMap(([step, , tests]) =>
      quoted(tests)
        .filter((file) => !file.endsWith('.test.ts') || !existsSync(join(root, file)))
        .map((file) => `${step}: ${file}`),
    );
    expect([...wrong, ...missing]).toEqual([]);
  });
});
