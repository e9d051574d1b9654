import { type DynamicModule, Module } from '@nestjs/common';
import { DistributedLockModule } from '../distributed-lock.module.js';
import {
  type FakeLockOptions,
  FakeDistributedLockService,
} from './fake-distributed-lock.service.js';

/** Options of {@link DistributedLockTestingModule}. */
export interface TestingModuleOptions extends FakeLockOptions {
  /** Name of the module that it stands for. Default: the one without a name. */
  readonly name?: string;
}

/**
 * Stands for `DistributedLockModule` in a unit test: decorated methods and `DistributedLockService` work as ever, on locks of this process and
 * without a database; the test gets {@link FakeDistributedLockService} from it to see and to steer them.
 *
 * ```ts
 * const module = await Test.createTestingModule({
 *   imports: [DistributedLockTestingModule.forRoot()],
 *   providers: [QuoteService],
 * }).compile();
 * const app = await module.init();
 * module.get(FakeDistributedLockService).simulate('busy', 'application:42');
 * ```
 */
@Module({})
export class DistributedLockTestingModule {
  static forRoot({ name, ...options }: TestingModuleOptions = {}): DynamicModule {
    const fake = new FakeDistributedLockService(options);
    const { manager: _manager, ...times } = options;
    const locks = DistributedLockModule.forRoot({
      store: fake.store,
      transactions: fake.transactionRunner,
      ...times,
      ...(name !== undefined && { name }),
    });
    return {
      module: DistributedLockTestingModule,
      global: true,
      imports: [locks],
      providers: [{ provide: FakeDistributedLockService, useValue: fake }],
      exports: [FakeDistributedLockService, locks],
    };
  }
}
