import type { Command } from 'commander';
import { createBareProgram, type ProgramParts } from '../src/cli/program.ts';
import { ablate } from './ablations/ablate-command.ts';
import { benchmark } from './benchmark/benchmark-command.ts';
import { calibration } from './calibration/calibration-command.ts';
import { causes } from './calibration/causes-command.ts';
import { chaos } from './chaos/chaos-command.ts';
import { claims } from './claims/claims-command.ts';
import { devices } from './devices/devices-command.ts';
import { durability } from './durability/durability-command.ts';
import { enumerable } from './enumerable/enumerable-command.ts';
import { type Experiment, LAB } from './experiment.ts';
import { fewCalls } from './few-calls/few-calls-command.ts';
import { firstAttacks } from './first-attacks/first-attacks-command.ts';
import { fuzz } from './fuzz/fuzz-command.ts';
import { golden } from './golden/golden-command.ts';
import { growth } from './growth/growth-command.ts';
import { inFlight } from './in-flight/in-flight-command.ts';
import { queue } from './queue/queue-command.ts';
import { search } from './search/search-command.ts';

/** Every experiment: one file and one line here. */
export const EXPERIMENTS: readonly Experiment[] = [
  claims,
  benchmark,
  ablate,
  search,
  fewCalls,
  firstAttacks,
  enumerable,
  calibration,
  causes,
  durability,
  chaos,
  inFlight,
  growth,
  queue,
  devices,
  fuzz,
  golden,
];

/** Returns the command line of the lab: Floodgate's global options, and a command for each experiment. */
export function createLabProgram({ context, write }: ProgramParts): Command {
  const program = createBareProgram(LAB, write)
    .description("The project's own experiments. They are not part of the package.")
    .configureHelp({ helpWidth: 120, subcommandTerm: (command) => command.name() })
    .addHelpText(
      'after',
      `\n${LAB} NAME --help lists the options of one.\nExit codes: 0 done, 1 failure, 2 bad usage, 130 interrupted.`,
    );
  for (const { name, description, define } of EXPERIMENTS) {
    define(program.command(name).description(description), context);
  }
  return program;
}
