import { Injectable } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { assertLocked, currentHold, DistributedLock } from 'nestjs-distributed-lock';

/** Runs on every server, and on one of them at a time. */
@Injectable()
export class ReportJob {
  readonly sent: number[] = [];

  @Cron('0 3 * * *')
  @DistributedLock('report', {
    waitTime: 0, // whoever comes second
    onTimeout: 'skip', // leaves it to the first
    holdAtLeast: '30s', // also if its clock is behind by up to that
    holdAtMost: '10m', // a run that hangs is given up then
    transaction: false,
  })
  async nightly(): Promise<void> {
    assertLocked(); // throws if somebody calls this without the lock
    for (const page of [1, 2, 3]) {
      currentHold()?.assertHeld(); // where stopping is safe: the hold may have been lost
      this.sent.push(page);
    }
  }
}
