import { type DynamicModule, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { DistributedLockModule, type LockStore } from 'nestjs-distributed-lock';
import { typeormTransactions } from 'nestjs-distributed-lock/typeorm';
import type { AppConfig } from './app.config.js';
import { storeOf } from './app.store.js';
import { Application } from './application/application.entity.js';
import { ApplicationModule } from './application/application.module.js';
import { Quote } from './quote/quote.entity.js';
import { QuoteModule } from './quote/quote.module.js';

@Module({})
export class AppModule {
  /** @param store where locks live; default: the store of the configuration. */
  static forConfig(config: AppConfig, store: LockStore = storeOf(config)): DynamicModule {
    return {
      module: AppModule,
      imports: [
        TypeOrmModule.forRoot({
          type: 'postgres',
          url: config.databaseUrl,
          entities: [Application, Quote],
          synchronize: true, // an example: a real application runs migrations
        }),
        DistributedLockModule.forRoot({
          store,
          namespace: 'quotes',
          waitTime: '5s',
          leaseTime: '10s',
          transactions: typeormTransactions(),
        }),
        ApplicationModule,
        QuoteModule,
      ],
    };
  }
}
