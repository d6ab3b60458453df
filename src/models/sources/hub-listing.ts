import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import type { RemoteFile } from './file-download.ts';
import { isSafeFileName } from './file-name.ts';
import { type HttpSession, readText, requestUrl, withRetries } from './http-session.ts';
import { hubUrl } from './hub-session.ts';

/** A longer listing is an attack on memory: the largest model repositories stay below 2 MB. */
const MAX_LISTING_BYTES = 16 * 1024 * 1024;

const listingSchema = z.object({
  sha: z.string().regex(/^[0-9a-f]{40}$/),
  siblings: z.array(
    z.object({
      rfilename: z.string(),
      size: z.int().nonnegative().nullish(),
      blobId: z
        .string()
        .regex(/^[0-9a-f]{40}$/)
        .nullish(),
      lfs: z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().nonnegative() }).nullish(),
    }),
  ),
});

export interface HubListing {
  /** The commit that the revision means now: 40 hex digits. */
  readonly commit: string;
  readonly files: readonly RemoteFile[];
}

/**
 * Lists the files of a repository at a revision. Unsafe names are left out, so nothing can select them.
 * @throws FloodgateError `source` when the hub does not answer, refuses, or answers anything but a listing.
 */
export async function listHubFiles(session: HttpSession, repository: string, revision: string): Promise<HubListing> {
  const operation = `list hf:${repository}@${revision}`;
  const path = `/api/models/${repository}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const text = await withRetries(session, operation, async () =>
    readText(await requestUrl(session, hubUrl(session, path), operation), MAX_LISTING_BYTES, operation),
  );
  let listing: z.infer<typeof listingSchema>;
  try {
    listing = listingSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new FloodgateError('source', `${operation}: ${session.endpoint.host} answered no listing of a repository`, {
      cause,
      hint: 'check HF_ENDPOINT: a proxy or login page may answer in its place',
    });
  }
  const files = listing.siblings.filter(({ rfilename }) => isSafeFileName(rfilename));
  return {
    commit: listing.sha,
    files: files.map(({ rfilename, size, blobId, lfs }) => ({
      name: rfilename,
      bytes: lfs?.size ?? size ?? undefined,
      sha256: lfs?.sha256,
      gitSha1: lfs ? undefined : (blobId ?? undefined), // for an LFS file, `blobId` is the pointer's
    })),
  };
}
