import { FloodgateError } from '../../base/errors.ts';
import { createOpenModels } from '../../models/open-models.ts';
import { readAttackerAdapter, setAdapter } from '../../runs/attacker-adapter.ts';
import { type AttackerFile, type AttackerFolder, importedBase, readAttackerFile } from '../../runs/attacker-folder.ts';
import type { StageAttacker } from '../checkpoints.ts';
import type { CampaignIo } from '../stage.ts';
import { openRunAttacker } from './run-attacker.ts';

/** Says where the base of an attacker is, when it can only be known on the machine that trained it. */
export function baseSpecOf({ path }: AttackerFolder, { base }: AttackerFile, local: string | undefined): string {
  if (local !== undefined) return local;
  if (!base.isPath) return base.spec;
  throw new FloodgateError('usage', `attacker ${path}: its base ${base.spec} was a path on another machine`, {
    hint: `floodgate attacker import ${path} --base PATH says where it is here (sha256 ${base.sha256})`,
  });
}

/** An attacker of a folder, ready to write; close it when done. */
export interface ExportedAttacker extends StageAttacker {
  readonly file: AttackerFile;
  close(): Promise<void>;
}

/**
 * Opens the attacker of a folder, exported or imported, on this machine's copy of its base. It writes the attacks that
 * the run's attacker writes with the same seed and number of threads.
 * @throws FloodgateError `source` when the base is not here; `model` when it is another; `format` for a damaged folder.
 */
export async function openExportedAttacker(
  folder: AttackerFolder,
  io: CampaignIo,
  options: { readonly threads?: number } = {},
): Promise<ExportedAttacker> {
  const file = await readAttackerFile(folder);
  const { metaPrompt, cells, minTokens, maxTokens } = file.policy;
  const { threads = file.policy.threads } = options;
  const spec = baseSpecOf(folder, file, await importedBase(folder));
  const model = await createOpenModels({ threads, ...io }).openDecoder(spec, 'attacker');
  const adapter = await readAttackerAdapter(folder, file, model);
  const config = {
    attacker: {
      ...({ method: 'lora', device: 'cpu' } as const),
      ...{ model: spec, metaPrompt, cells, minTokens, maxTokens, lora: loraOf(file) },
    },
  };
  const attacker = await openRunAttacker(config, model, { device: 'cpu', threads });
  const close = (): Promise<void> => attacker.close();
  try {
    const parameters = attacker.createParameters();
    setAdapter(parameters, adapter, `attacker ${folder.path}`);
    return { attacker, state: attacker.stateOf(parameters), file, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The adapter's shape as a config has it. */
export function loraOf({ adapter }: AttackerFile) {
  const { rank, alpha, targets } = adapter;
  return { rank, alpha, targets };
}
