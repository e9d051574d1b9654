import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';

/** An application context with the modules of a contender and a provider that uses them. */
export function nestApp(imports, providers = []) {
  class AppModule {}
  return NestFactory.createApplicationContext(
    { module: AppModule, imports, providers },
    { logger: ['error'], abortOnError: false },
  );
}
