import { canonicalJson } from '../base/canonical-json.ts';
import { FloodgateError } from '../base/errors.ts';
import type { Judge, JudgeConfig } from '../judges/judge.ts';
import { judgeSchema } from '../judges/registry.ts';
import { identityOfCheckpoint } from '../models/model-identity.ts';
import {
  type AskedDescription,
  descriptionDigest,
  judgeWeights,
  type OpenedJudge,
  type OpenedResult,
  type OpenedTarget,
  type SearchJob,
  type TargetPart,
} from '../queue/protocol.ts';
import { type AskedModels, openAskedModels } from '../stages/campaign/run-models.ts';
import { openRunWorld } from '../stages/campaign/run-world.ts';
import type { Memory } from '../stages/config/config.ts';
import type { CampaignIo } from '../stages/stage.ts';
import { planTarget, targetSchema } from '../targets/registry.ts';
import type { OpenTarget, PlannedTarget, TargetConfig } from '../targets/target-kind.ts';
import '../worlds/world-kinds.ts';
import { hostsNamed } from '../wire/wire-fields.ts';
import { type WorldConfig, worldSection } from '../worlds/world-registry.ts';
import { BatchedAsks } from './batched-asks.ts';
import { Opened, parseSection } from './opened.ts';
import { checkPermissions, type Permissions } from './permissions.ts';
import { Searcher } from './searcher.ts';

/** The sections of a description, checked. */
interface Sections {
  readonly seed: number;
  readonly threads: number | undefined;
  readonly memory: Memory;
  readonly target: TargetConfig;
  readonly judges: readonly JudgeConfig[];
  readonly world: WorldConfig | undefined;
}

/** @throws as `parseSection`. */
function parseSections(description: AskedDescription, own: OpeningOptions): Sections {
  const { seed, threads, target, judges, world } = description;
  return {
    seed,
    threads: own.threads ?? threads ?? undefined,
    memory: own.memory ?? 'fast',
    target: parseSection(targetSchema(), target, 'target'),
    judges: judges.map((judge, i) => parseSection(judgeSchema(), judge, `judges.${i}`)),
    world: world === null ? undefined : parseSection(worldSection, world, 'world'),
  };
}

export interface OpeningOptions {
  readonly io: CampaignIo;
  readonly permissions: Permissions;
  /** Threads of the model runtime, in place of those of the config. */
  readonly threads?: number | undefined;
  /** As the config's key of this name; fast when absent, for the config speaks of its own machine. */
  readonly memory?: Memory | undefined;
}

/** A target and how jobs ask it. */
interface AskedTarget {
  readonly open: OpenTarget;
  readonly asks: BatchedAsks;
}

/** The target and the judges of one description, each opened when a job needs it. */
export class OpenedParts {
  private readonly description: AskedDescription;
  private readonly targets: Readonly<Record<TargetPart, Opened<AskedTarget & { close(): Promise<void> }>>>;
  private readonly judges: readonly Opened<Judge>[];
  private planning: Promise<PlannedTarget> | undefined;
  /** Of training and evaluation, where they are one target. */
  private readonly sections: Sections;
  private readonly options: OpeningOptions;
  private asked: Promise<AskedModels> | undefined;
  private readonly searchers = new Map<string, Searcher>();

  /** @throws FloodgateError `config` for sections that their schemas refuse, and for what the worker may not do. */
  constructor(description: AskedDescription, options: OpeningOptions) {
    this.description = description;
    this.options = options;
    this.sections = parseSections(description, options);
    checkPermissions(this.sections, options.permissions);
    this.targets = {
      training: new Opened(() => this.openTarget('training')),
      evaluation: new Opened(() => this.openTarget('evaluation')),
    };
    this.judges = this.sections.judges.map(
      (judge) => new Opened(async () => (await this.models()).openJudge({ ...judge })),
    );
  }

  private models(): Promise<AskedModels> {
    const { io } = this.options;
    this.asked ??= openRunWorld(this.sections, io).then((world) => openAskedModels(this.sections, io, world));
    this.asked.catch(() => {
      this.asked = undefined;
    });
    return this.asked;
  }

  private plan(): Promise<PlannedTarget> {
    this.planning ??= this.models().then(({ host }) => planTarget(this.sections.target, host));
    this.planning.catch(() => {
      this.planning = undefined;
    });
    return this.planning;
  }

  private async openTarget(part: TargetPart) {
    const planned = await this.plan();
    const own = part === 'evaluation' ? (planned.evaluatedAs ?? planned) : planned;
    const open = await own.open(this.description.texts);
    return { open, asks: new BatchedAsks(open.target, this.options.io.signal), close: () => open.close() };
  }

  /** Training and evaluation ask one target where the kind has no other for evaluations. */
  async target(part: TargetPart): Promise<AskedTarget> {
    const { evaluatedAs } = await this.plan();
    return this.targets[evaluatedAs === undefined ? 'evaluation' : part].get();
  }

  /** @param place in the description's judges. */
  judge(place: number): Promise<Judge> {
    const judge = this.judges[place];
    if (judge === undefined)
      throw new FloodgateError('judge', `open judge ${place}: the description has no such judge`);
    return judge.get();
  }

  /** Whoever draws with the attacker of a job. */
  searcher({ attacker, encoder }: Pick<SearchJob, 'attacker' | 'encoder'>): Searcher {
    const key = canonicalJson([attacker, encoder]);
    const searcher = this.searchers.get(key) ?? new Searcher({ attacker, encoder }, () => this.models());
    this.searchers.set(key, searcher);
    return searcher;
  }

  /** Opens everything, and says what it is. */
  async describe(): Promise<OpenedResult> {
    const targetOf = async (part: TargetPart): Promise<OpenedTarget> => {
      const { open } = await this.target(part);
      return openedTarget(open);
    };
    const training = await targetOf('training');
    const evaluation = await targetOf('evaluation');
    const judges: OpenedJudge[] = [];
    for (const [place, config] of this.sections.judges.entries())
      judges.push(openedJudge(await this.judge(place), config));
    return { kind: 'opened', targets: { training, evaluation }, judges };
  }

  async close(): Promise<void> {
    const all = [this.targets.training, this.targets.evaluation, ...this.judges, ...this.searchers.values()];
    for (const each of all) await each.close();
  }
}

function openedTarget({ target, hosts, facts, checkpoint }: OpenTarget): OpenedTarget {
  return {
    name: target.name,
    model: checkpoint === undefined ? null : identityOfCheckpoint(checkpoint),
    hosts: hosts === undefined ? null : [...hosts],
    facts: { ...facts, warnings: [...facts.warnings] },
  };
}

function openedJudge(judge: Judge, config: JudgeConfig): OpenedJudge {
  const isElsewhere = judge.isConcurrent === true || hostsNamed(config).length > 0;
  return { name: judge.name, isFree: !isElsewhere, models: modelsOf(judge) };
}

const modelsOf = ({ models = [] }: Judge): OpenedJudge['models'] => models.map(identityOfCheckpoint);

export const weightsOfJudge = (judge: Judge): string => judgeWeights({ models: modelsOf(judge) });

/** Descriptions that stay open: those of a few runs side by side. */
const MOST_OPEN = 4;

/** The opened descriptions of a worker. One that no job has used for longest is closed. */
export class PartsCache {
  private readonly parts = new Map<string, { readonly parts: OpenedParts; users: number }>();
  private readonly options: OpeningOptions;

  constructor(options: OpeningOptions) {
    this.options = options;
  }

  /** @throws as `OpenedParts` and `work`. */
  async use<T>(description: AskedDescription, work: (parts: OpenedParts) => Promise<T>): Promise<T> {
    const digest = descriptionDigest(description);
    const held = this.parts.get(digest) ?? { parts: new OpenedParts(description, this.options), users: 0 };
    this.parts.delete(digest);
    this.parts.set(digest, held); // the last one used is the last to be closed
    held.users++;
    try {
      return await work(held.parts);
    } finally {
      held.users--;
      await this.closeUnused();
    }
  }

  private async closeUnused(): Promise<void> {
    for (const [digest, { parts, users }] of this.parts) {
      if (this.parts.size <= MOST_OPEN) return;
      if (users > 0) continue;
      this.parts.delete(digest);
      await parts.close();
    }
  }

  async close(): Promise<void> {
    for (const { parts } of this.parts.values()) await parts.close();
    this.parts.clear();
  }
}
