import { Redlock } from '@sesamecare-oss/redlock';
import { Redis } from 'ioredis';
import { redlockContender } from './redlock-family.mjs';

export const open = (options) => redlockContender(Redlock, new Redis(options.url), options);
