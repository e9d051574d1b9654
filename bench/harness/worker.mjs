/** One contender in one process. Knows nothing of the others. */
import 'reflect-metadata';
import { serve } from '../../dist/example/demo/worker-port.js';
import { contenderNamed } from '../contenders/index.mjs';
import { burst } from '../loads/burst.mjs';
import { closed } from '../loads/closed.mjs';
import { hold, queue, stand, weigh } from '../loads/standing.mjs';
import { startMeter } from './meter.mjs';

const { CONTENDER, OPTIONS } = process.env;
const options = JSON.parse(OPTIONS);
const rejected = [];
process.on('unhandledRejection', (reason) => rejected.push(String(reason)));

const contender = await contenderNamed(CONTENDER).open(options);

const LOADS = { closed, burst, hold, queue, stand, weigh };

async function run({ load, metered, ...params }) {
  const stopMeter = metered ? startMeter(Number(new URL(options.url).port)) : () => null;
  const result = await LOADS[load](contender, params);
  return { ...result, meter: stopMeter(), rejected: rejected.splice(0) };
}

serve({ run }, async () => contender.close());
