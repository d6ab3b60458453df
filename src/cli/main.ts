#!/usr/bin/env node
import { campaignActions } from './campaign-actions.ts';
import { runProcess } from './process.ts';

await runProcess({ campaign: campaignActions });
