import { Injectable } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { DistributedLock } from 'nestjs-distributed-lock';
import {
  DistributedLockTestingModule,
  FakeDistributedLockService,
} from 'nestjs-distributed-lock/testing';
import { expect, it } from 'vitest';

@Injectable()
class QuoteService {
  @DistributedLock('application:{applicationId}')
  async submit(applicationId: string): Promise<string> {
    return `submitted to ${applicationId}`;
  }
}

it('locks the application', async () => {
  const module = await Test.createTestingModule({
    imports: [DistributedLockTestingModule.forRoot()],
    providers: [QuoteService],
  }).compile();
  await module.init();
  expect(await module.get(QuoteService).submit('42')).toBe('submitted to 42');
  const locks = module.get(FakeDistributedLockService);
  expect(locks.calls).toMatchObject([{ key: 'application:42', outcome: 'released' }]);
  expect(locks.transactions).toEqual(['committed']);
  await module.close();
});
