#!/usr/bin/env node
import { campaignActions } from './campaign-actions.ts';
import { runProcess } from './run-process.ts';

await runProcess({ campaign: campaignActions });
