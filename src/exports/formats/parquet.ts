import type { FileHandle } from 'node:fs/promises';
import { ByteWriter, ParquetWriter, schemaFromColumnData, type Writer } from 'hyparquet-writer';
import { packageVersion } from '../../base/package-root.ts';
import type { FileFormat } from '../export-format.ts';
import { type Cell, type CellType, type FlatColumn, flatRows } from '../flat-rows.ts';

/** Rows of one group: what memory holds. */
const GROUP_ROWS = 4096;

const TYPES = { text: 'STRING', number: 'DOUBLE', count: 'INT64', flag: 'BOOLEAN' } as const satisfies Record<
  CellType,
  string
>;

/** A Parquet file that grows a group of rows at a time. */
export interface ParquetAppender {
  /** Rows added so far. */
  readonly rows: number;
  /** Returns a promise where a group was full and is being written. */
  add(row: readonly Cell[]): Promise<void> | undefined;
  /** Writes the last group and the footer; the handle stays open. */
  finish(): Promise<void>;
}

/** Starts a Parquet file at the beginning of an empty `handle`; every column may hold nulls. */
export function createParquetAppender(handle: FileHandle, columns: readonly FlatColumn[]): ParquetAppender {
  const buffer = new ByteWriter();
  const flushBuffer = async (): Promise<void> => {
    const bytes = buffer.getBytes();
    buffer.index = 0; // the offset counts on
    await handle.appendFile(bytes);
  };
  const writer: Writer = Object.assign(buffer, { flush: flushBuffer, finish: flushBuffer });
  const typed = columns.map(({ name, type }) => ({ name, type: TYPES[type], nullable: true }));
  const schema = schemaFromColumnData({ columnData: typed.map((column) => ({ ...column, data: [] })) });
  const parquet = new ParquetWriter({ writer, schema, createdBy: `floodgate ${packageVersion()}` });
  let group: (readonly Cell[])[] = [];
  let rows = 0;
  const flush = async (): Promise<void> => {
    const full = group;
    group = [];
    const columnData = columns.map(({ name, type }, column) => ({
      name,
      data: full.map((row) => {
        const cell = row[column] ?? null;
        return type === 'count' && cell !== null ? BigInt(cell) : cell;
      }),
      offsetIndex: false,
    }));
    await parquet.write({ columnData, rowGroupSize: full.length });
  };
  return {
    get rows() {
      return rows;
    },
    add: (row) => {
      rows++;
      return group.push(row) < GROUP_ROWS ? undefined : flush();
    },
    finish: async () => {
      if (group.length > 0) await flush();
      await parquet.finish();
    },
  };
}

/** The columns of the CSV, typed and compressed. */
export const parquet: FileFormat = {
  kind: 'file',
  name: 'parquet',
  describe: 'one row a response, typed columns, for data frames',
  async *write(source, handle) {
    const { columns, rows } = flatRows(source);
    const appender = createParquetAppender(handle, columns);
    for (const row of rows()) {
      await appender.add(row);
      yield;
    }
    await appender.finish();
  },
};
