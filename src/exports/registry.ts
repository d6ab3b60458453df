import { createRegistry } from '../base/registry.ts';
import type { ExportFormat } from './export-format.ts';
import { csv } from './formats/csv.ts';
import { hfDataset } from './formats/hf-dataset.ts';
import { inspectLog } from './formats/inspect-log.ts';
import { jsonl } from './formats/jsonl.ts';
import { junit } from './formats/junit.ts';
import { markdown } from './formats/markdown.ts';
import { parquet } from './formats/parquet.ts';
import { sarif } from './formats/sarif.ts';

/** Every format of `floodgate export`, in the order of its help. A new one is a file in `formats/` and an entry here. */
export const exportFormats = createRegistry<ExportFormat>('export format', [
  csv,
  jsonl,
  parquet,
  junit,
  sarif,
  markdown,
  hfDataset,
  inspectLog,
]);
