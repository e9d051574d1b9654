/** The example application in a process of its own: opens applications, cancels them, submits quotes to them. */
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { DataSource } from 'typeorm';
import { AppModule } from '../../../dist/example/app.module.js';
import { configFromEnvironment } from '../../../dist/example/app.config.js';
import { ApplicationCancelService } from '../../../dist/example/application/application-cancel.service.js';
import { OpenDoorStore } from '../../../dist/example/demo/open-door.store.js';
import { serve } from '../../../dist/example/demo/worker-port.js';
import { QuoteSubmitService } from '../../../dist/example/quote/quote-submit.service.js';

const store = process.env.LOCK === 'off' ? new OpenDoorStore() : undefined;
const module = AppModule.forConfig(configFromEnvironment(), store);
const app = await NestFactory.createApplicationContext(module, { logger: ['error'] });
// Connections are made before the race, not in it.
await Promise.all(Array.from({ length: 4 }, () => app.get(DataSource).query('SELECT 1')));

/** What became of a call: a refusal is an answer, anything else that is thrown is an error. */
const outcome = async (call) => {
  try {
    await call;
    return 'done';
  } catch (error) {
    if (error.status === 409) return 'refused';
    throw error;
  }
};

serve(
  {
    cancel: (id) => outcome(app.get(ApplicationCancelService).cancel(id)),
    submit: (id) => outcome(app.get(QuoteSubmitService).submit(id, 'Kim', 1_000)),
  },
  () => app.close(),
);
