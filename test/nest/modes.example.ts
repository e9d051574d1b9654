// The examples of docs/modes.md, run by modes-example.spec.ts.
import { Injectable } from '@nestjs/common';
import { DistributedLock, DistributedLockService } from 'nestjs-distributed-lock';

@Injectable()
export class Catalogue {
  private prices = new Map([['apple', 3]]);

  @DistributedLock({ key: 'catalogue', mode: 'shared' })
  async total(...items: string[]): Promise<number> {
    return items.reduce((sum, item) => sum + (this.prices.get(item) ?? 0), 0);
  }

  @DistributedLock('catalogue') // exclusive: nobody reads meanwhile
  async replaceAll(prices: Map<string, number>): Promise<void> {
    this.prices = prices;
  }
}

@Injectable()
export class Thumbnails {
  @DistributedLock({ key: 'thumbnails', permits: 4, waitTime: '1m' })
  async render(image: string): Promise<string> {
    return `${image}.thumb`;
  }
}

@Injectable()
export class Tickets {
  private next = 1;

  constructor(private readonly locks: DistributedLockService) {}

  @DistributedLock({ key: 'tickets', fair: true })
  async draw(): Promise<number> {
    return this.next++;
  }

  /** The same, and readers and permits too, without a decorator. */
  async report(): Promise<number> {
    const drawn = await this.locks.withLock('tickets', { fair: true }, async () => this.next - 1);
    await using permit = await this.locks.acquire('reports', { permits: 2 });
    permit.assertHeld();
    return drawn;
  }
}
