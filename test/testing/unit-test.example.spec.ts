import { DistributedLockService, LockWaitTimeoutError } from 'nestjs-distributed-lock';
import { FakeDistributedLockService } from 'nestjs-distributed-lock/testing';
import { expect, it } from 'vitest';

class Jobs {
  constructor(private readonly locks: DistributedLockService) {}

  run(): Promise<string> {
    return this.locks.withLock('job1', { waitTime: '3s' }, async () => 'done');
  }
}

it('does not run while another server runs the job', async () => {
  const locks = new FakeDistributedLockService();
  locks.simulate('busy', 'job1'); // the call is told so at once: nobody waits 3 s
  await expect(new Jobs(locks).run()).rejects.toBeInstanceOf(LockWaitTimeoutError);
  expect(locks.calls).toMatchObject([{ key: 'job1', waitTimeMs: 3_000, outcome: 'busy' }]);
});
