import { setTimeout as pause } from 'node:timers/promises';
import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { DistributedLockService, type Hold, type Leadership } from 'nestjs-distributed-lock';

/** Work that one server does all the time, and another one as soon as that one is gone. */
@Injectable()
export class OutboxRelay implements OnApplicationBootstrap {
  relayed = 0;
  leadership!: Leadership;

  constructor(private readonly locks: DistributedLockService) {}

  onApplicationBootstrap(): void {
    this.leadership = this.locks.lead('outbox-relay', {
      leaseTime: '10s', // after a crash, another server takes over within that
      onElected: (hold) => this.relay(hold),
    });
  }

  /** Ends with the term: nobody else is elected before it has ended. */
  private async relay(hold: Hold): Promise<void> {
    while (!hold.lost.aborted) {
      this.relayed += 1; // … one batch
      await pause(10, undefined, { signal: hold.lost }).catch(() => undefined); // the term is over
    }
  }
}
