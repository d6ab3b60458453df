/** Registers the kinds of a synthetic world. Import this file for its effect before a config is read. */
import { judgeKinds } from '../judges/registry.ts';
import { targetKinds } from '../targets/registry.ts';
import { worldJudge } from './alarm-judge.ts';
import { regionTargetKind } from './language/region-target.ts';
import { worldTargetKind } from './world-target.ts';

judgeKinds.add(worldJudge);
targetKinds.add(worldTargetKind);
targetKinds.add(regionTargetKind);
