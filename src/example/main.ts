import { Logger } from '@nestjs/common';
import { configFromEnvironment } from './app.config.js';
import { createHttpApp } from './http-app.js';

const config = configFromEnvironment();
const app = await createHttpApp(config);
app.enableShutdownHooks();
await app.listen(config.port);

const logger = new Logger('Example');
const url = (await app.getUrl()).replace('[::1]', 'localhost');
logger.log(
  `Locks live in: ${config.store}${config.storeUrl === null ? '' : ` (${config.storeUrl})`}.`,
);
logger.log(
  `Open an application:  curl -X POST ${url}/applications -H 'content-type: application/json' -d '{"title":"A new kitchen"}'`,
);
logger.log(
  `Submit a quote:       curl -X POST ${url}/applications/ID/quotes -H 'content-type: application/json' -d '{"supplier":"Kim","amount":1200}'`,
);
logger.log(`Cancel it:            curl -X POST ${url}/applications/ID/cancel`);
