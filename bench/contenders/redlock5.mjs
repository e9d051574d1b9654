import { Redis } from 'ioredis';
import Redlock from 'redlock';
import { redlockContender } from './redlock-family.mjs';

export const open = (options) => redlockContender(Redlock, new Redis(options.url), options);
