import { LockUpgradeError, DistributedLockService } from 'nestjs-distributed-lock';
import { raceTogether } from 'nestjs-distributed-lock/testing';
import { expect, it } from 'vitest';
import { Catalogue, Thumbnails, Tickets } from './modes.example.js';
import { locks, startApp } from './support.js';

const start = () => startApp({ imports: [locks()], providers: [Catalogue, Thumbnails, Tickets] });

it('the examples of docs/modes.md run', async () => {
  const app = await start();
  const [catalogue, tickets] = [app.get(Catalogue), app.get(Tickets)];
  const { values } = await raceTogether(10, () => catalogue.total('apple', 'apple'));
  expect(values).toEqual(Array(10).fill(6));
  await catalogue.replaceAll(new Map([['apple', 4]]));
  expect(await catalogue.total('apple')).toBe(4);
  const thumbs = await raceTogether(10, (n) => app.get(Thumbnails).render(`${n}.png`));
  expect(thumbs.values[9]).toBe('9.png.thumb');
  const drawn = await raceTogether(10, () => tickets.draw());
  expect(drawn.values).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(await tickets.report()).toBe(10);
});

it('and a reader that wants to write is told', async () => {
  const app = await start();
  const service = app.get(DistributedLockService);
  const upgrade = service.withLock('catalogue', { mode: 'shared' }, () =>
    app.get(Catalogue).replaceAll(new Map()),
  );
  await expect(upgrade).rejects.toBeInstanceOf(LockUpgradeError);
});
