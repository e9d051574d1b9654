import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import type { AcquireRequest, LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { ZooKeeperWorld } from '../contract/zookeeper-world.js';
import {
  Curator,
  type CuratorLock,
  type CuratorService,
  whyNoCurator,
} from '../support/curator.js';
import { until } from '../support/until.js';

const url = inject('zookeeperUrl');
const say = (line: string) => process.stderr.write(`${line}\n`);
const missing = url === null ? 'no ZooKeeper' : whyNoCurator(say);
if (missing !== null) say(`not tested: sharing locks with Curator (${missing})`);

/** What a service in Java takes to be alone. */
const LAYOUTS = [
  { layout: 'mutex', recipe: 'mutex' },
  { layout: 'semaphore-mutex', recipe: 'semaphore-mutex' },
  { layout: 'read-write', recipe: 'write' },
] as const;

const SHARED: Partial<AcquireRequest> = { admission: { mode: 'shared', fair: false } };

describe.skipIf(missing !== null)('services in Java and in Node', () => {
  let curator: Curator;
  let services: readonly CuratorService[];
  beforeAll(async () => {
    curator = await Curator.compile();
    services = await Promise.all([curator.start(url!), curator.start(url!)]);
  });
  afterAll(() => curator.close());

  describe.each(LAYOUTS)('with the layout $layout', ({ layout, recipe }) => {
    const key = freshKey();
    let world: ZooKeeperWorld;
    let node: LockStore;
    let java: CuratorLock;
    let other: CuratorLock;
    beforeEach(async () => {
      world = new ZooKeeperWorld(url!, { layout });
      node = await world.store();
      const path = `${world.directory}/${key}`;
      [java, other] = services.map((it) => it.lock(recipe, path)) as [CuratorLock, CuratorLock];
    });
    afterEach(() => world.close());

    /** In `semaphore-mutex` each of those who wait beside the holders has a place in `locks` and a lease. */
    const waits = (holders: number, waiters: number) =>
      until(`${waiters} to wait`, async () => {
        const nodes = holders + waiters * (layout === 'semaphore-mutex' ? 2 : 1);
        return (await world.places()).length === nodes;
      });

    it('Java holds, Node waits', async () => {
      expect(await java.acquire(5_000)).toBe(true);
      expect(await node.acquire(request(key)), 'a try').toBeNull();
      const waiting = take(node, key);
      await world.queued(1);
      await java.release();
      await node.release(await waiting);
      expect(await java.acquire(5_000)).toBe(true);
      await java.release();
    });

    it('Node holds, Java waits', async () => {
      const grant = await take(node, key);
      expect(await java.acquire(300), 'in vain').toBe(false);
      const waiting = java.acquire(10_000);
      await world.queued(1);
      expect(await node.release(grant)).toBe('released');
      expect(await waiting).toBe(true);
      expect(await node.acquire(request(key)), 'a try').toBeNull();
      await java.release();
      await node.release(await take(node, key));
    });

    it('are served in the order in which they came', async () => {
      const grant = await take(node, key, { waitTimeMs: 10_000 });
      const served: string[] = [];
      const first = java.acquire(10_000).then(() => served.push('java'));
      await world.queued(1);
      const second = take(node, key, { waitTimeMs: 10_000 }).then((it) => {
        served.push('node');
        return it;
      });
      await world.queued(2);
      const third = other.acquire(10_000).then(() => served.push('java again'));
      await world.queued(3);
      await node.release(grant);
      await first;
      await java.release();
      await node.release(await second);
      await third;
      await other.release();
      expect(served).toEqual(['java', 'node', 'java again']);
    });

    it('Node shares, Java waits until all have left, and is not overtaken', async () => {
      const second = await world.store();
      const shared = [await take(node, key, SHARED), await take(second, key, SHARED)];
      expect(await java.acquire(300), 'in vain').toBe(false);
      const waiting = java.acquire(10_000);
      await waits(2, 1);
      expect(await node.acquire(request(key, SHARED)), 'a later one').toBeNull();
      const behind = take(node, key, { ...SHARED, waitTimeMs: 10_000 });
      await node.release(shared[0]!);
      await second.release(shared[1]!);
      expect(await waiting).toBe(true);
      await java.release();
      await node.release(await behind);
    });

    it('Java is alone, Node waits to share', async () => {
      expect(await java.acquire(5_000)).toBe(true);
      expect(await node.acquire(request(key, SHARED)), 'a try').toBeNull();
      const waiting = [take(node, key, SHARED), take(node, key, SHARED)];
      await waits(1, 2);
      await java.release();
      const together = await Promise.all(waiting);
      await Promise.all(together.map((it) => node.release(it)));
    });
  });

  describe("with the layout read-write, a reader in Java and Node's callers", () => {
    const key = freshKey();
    let world: ZooKeeperWorld;
    let node: LockStore;
    let reader: CuratorLock;
    let writer: CuratorLock;
    beforeEach(async () => {
      world = new ZooKeeperWorld(url!, { layout: 'read-write' });
      node = await world.store();
      const path = `${world.directory}/${key}`;
      reader = services[0]!.lock('read', path);
      writer = services[1]!.lock('write', path);
    });
    afterEach(() => world.close());

    it('share with each other', async () => {
      expect(await reader.acquire(5_000)).toBe(true);
      const grant = await take(node, key, { ...SHARED, waitTimeMs: 0 });
      expect(await writer.acquire(200), 'two readers are inside').toBe(false);
      await reader.release();
      expect(await writer.acquire(200), 'one is left').toBe(false);
      expect(await node.release(grant)).toBe('released');
      expect(await writer.acquire(5_000)).toBe(true);
      expect(await node.acquire(request(key, SHARED))).toBeNull();
      expect(await reader.acquire(200)).toBe(false);
      await writer.release();
    });

    it('a writer of Node waits for it, and is not overtaken by another', async () => {
      expect(await reader.acquire(5_000)).toBe(true);
      const later = services[1]!.lock('read', `${world.directory}/${key}`);
      const waiting = take(node, key);
      await world.queued(1);
      expect(await later.acquire(200), 'behind the writer').toBe(false);
      await reader.release();
      const grant = await waiting;
      expect(await later.acquire(200), 'while the writer is inside').toBe(false);
      expect(await node.release(grant)).toBe('released');
      expect(await later.acquire(5_000)).toBe(true);
      await later.release();
    });
  });

  it('free each other when one of them dies', async () => {
    const doomed = await curator.start(url!, 1_500);
    const key = freshKey();
    const worlds = LAYOUTS.map(({ layout }) => new ZooKeeperWorld(url!, { layout }));
    const waiting: Promise<unknown>[] = [];
    for (const [index, world] of worlds.entries()) {
      const java = doomed.lock(LAYOUTS[index]!.recipe, `${world.directory}/${key}`);
      expect(await java.acquire(5_000)).toBe(true);
      const node = await world.store();
      waiting.push(take(node, key, { waitTimeMs: 30_000 }));
      await world.queued(1);
    }
    await doomed.kill();
    await Promise.all(waiting);
    await Promise.all(worlds.map((world) => world.close()));
  });

  it("control: Curator's own mutex and read/write lock of one path do not see each other", async () => {
    const path = `/lock/mutex/control-${freshKey()}`;
    const mutex = services[0]!.lock('mutex', path);
    const [writer, reader] = [services[1]!.lock('write', path), services[1]!.lock('read', path)];
    expect(await mutex.acquire(5_000)).toBe(true);
    expect(await writer.acquire(1_000)).toBe(true);
    await writer.release();
    expect(await reader.acquire(1_000)).toBe(true);
    await mutex.release();
    expect(await mutex.acquire(1_000)).toBe(true);
    await mutex.release();
    await reader.release();
  });

  it('control: with different layouts they do not see each other', async () => {
    const world = new ZooKeeperWorld(url!, { layout: 'mutex' });
    const key = freshKey();
    const node = await world.store();
    const java = services[0]!.lock('semaphore-mutex', `${world.directory}/${key}`);
    expect(await java.acquire(5_000)).toBe(true);
    await node.release(await take(node, key, { waitTimeMs: 0 }));
    await java.release();
    await world.close();
  });
});
