import 'reflect-metadata';
import { type INestApplication, type NestApplicationOptions, ValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AppConfig } from './app.config.js';
import { AppModule } from './app.module.js';
import { LockErrorFilter } from './lock-error.filter.js';

/** The example as an HTTP server; not listening yet. */
export async function createHttpApp(
  config: AppConfig,
  options: NestApplicationOptions = {},
): Promise<INestApplication> {
  const app = await NestFactory.create(AppModule.forConfig(config), options);
  app.useGlobalPipes(
    new ValidationPipe({ whitelist: true, forbidNonWhitelisted: true, transform: true }),
  );
  app.useGlobalFilters(new LockErrorFilter());
  return app;
}
