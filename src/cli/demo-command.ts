import type { Command } from 'commander';
import { parseConfig } from '../stages/config/config-load.ts';
import type { CampaignActions } from './campaign-commands.ts';
import { printResult } from './command-result.ts';
import { addRunsOption, type RunsOptions } from './common-options.ts';
import type { CliContext } from './context.ts';
import { addWorldOptions, type WorldOptions } from './world-options.ts';

/** The whole line in a made world: reference, GFlowNet, smoothing, beside best-of-n and an exact sampler. */
const DEMO = 'name: demo\nworld: {}\nattackers: [sft, gflownet, smoothing, best-of-n, exact]\n';

/** Adds `floodgate demo`. */
export function registerDemoCommand(program: Command, context: CliContext, actions: CampaignActions): void {
  addWorldOptions(
    addRunsOption(program.command('demo').description('the whole line in a made world where the truth is known')),
  )
    .addHelpText(
      'after',
      `
Everything is made on this machine, in three to six minutes on two cores: a small target that misbehaves on planted keys,
an attacker that looks for them, and the truth to compare with. Nothing is downloaded or sent.

Examples:
  floodgate demo
  floodgate demo --world-seed 105
  floodgate demo --keys 24 --noise 0.5 --json`,
    )
    .action(async ({ runsDir, worldSeed, keys, noise, hardness }: RunsOptions & WorldOptions) => {
      const config = parseConfig(DEMO, {
        fileName: 'of the demo',
        folder: process.cwd(),
        overrides: [
          `seed=${worldSeed}`,
          `world.seed=${worldSeed}`,
          `world.keys=${keys}`,
          `world.noise=${noise}`,
          `world.hardness=${hardness}`,
        ],
      });
      const request = { config, name: 'demo', isNameChosen: false, runsFolder: runsDir, isDryRun: false };
      printResult(context, await actions.run(request, context));
    });
}
