import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { silentProgress } from '../../src/base/progress.ts';
import { openGguf } from '../../src/models/checkpoint/gguf-checkpoint.ts';
import { readGolden } from '../support/golden-file.ts';
import { modelFixture } from '../support/model-fixture.ts';

interface Golden {
  readonly origin: { readonly sha256: string };
  readonly digests: Record<string, string>;
}

test("every tensor of SmolLM2's GGUF comes out bit for bit as transformers reads it", async () => {
  const cacheDir = await mkdtemp(join(tmpdir(), 'floodgate-smollm2-'));
  try {
    const golden = await readGolden<Golden>('models', 'smollm2-weights');
    const { sha256, weights } = await openGguf(await modelFixture('smollm2-135m-instruct'), {
      cacheDir,
      progress: silentProgress,
    });
    expect(sha256).toBe(golden.origin.sha256);
    const bytes = await readFile(weights.path);
    const digests = [...weights.tensors].map(([name, { offset, byteLength }]) => {
      const digest = createHash('sha256').update(bytes.subarray(offset, offset + byteLength));
      return [name, digest.digest('hex').slice(0, 16)];
    });
    expect(Object.fromEntries(digests)).toEqual(golden.digests);
  } finally {
    await rm(cacheDir, { recursive: true });
  }
});
