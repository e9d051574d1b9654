/**
 * The example over HTTP, in a process of its own. Reports every commit, and answers 100 ms later, so that a test can end it in between.
 *
 * SIGTERM: as Nest does it (`enableShutdownHooks`); with `SHUTDOWN=exit`, as a process without hooks does.
 */
import 'reflect-metadata';
import { delay, tap } from 'rxjs';
import { configFromEnvironment } from '../../../dist/example/app.config.js';
import { createHttpApp } from '../../../dist/example/http-app.js';
import { report, serve } from '../../../dist/example/demo/worker-port.js';

const app = await createHttpApp(configFromEnvironment(), { logger: ['error'] });
const committed = () => report('committed');
app.useGlobalInterceptors({
  intercept: (_context, next) => next.handle().pipe(tap(committed), delay(100)),
});
if (process.env.SHUTDOWN === 'exit') process.on('SIGTERM', () => process.exit(0));
else app.enableShutdownHooks();
await app.listen(0, '127.0.0.1');

serve({ url: () => app.getUrl() }, () => app.close());
