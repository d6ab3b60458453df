import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fillTables } from './doc-tables.ts';
import { ROOT } from './machine.ts';
import type { BenchResult } from './report.ts';

const page = new URL('docs/performance.md', ROOT);

function resultOf(work: string): BenchResult | undefined {
  const file = new URL(`bench/results/${work}.json`, ROOT);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as BenchResult) : undefined;
}

writeFileSync(page, fillTables(readFileSync(page, 'utf8'), resultOf));
