import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { ZooKeeperWorld } from '../contract/zookeeper-world.js';
import { Curator, type CuratorHolder, whyNoCurator } from '../support/curator.js';
import { until } from '../support/until.js';

const url = inject('zookeeperUrl');
const say = (line: string) => process.stderr.write(`${line}\n`);
const missing = url === null ? 'no ZooKeeper' : whyNoCurator(say);
if (missing !== null) say(`not tested: sharing locks with Curator (${missing})`);

describe.skipIf(missing !== null)('services in Java and in Node', () => {
  let curator: Curator;
  beforeAll(async () => {
    curator = await Curator.compile();
  });
  afterAll(() => curator.close());

  describe.each(['mutex', 'semaphore-mutex'] as const)('with the layout %s', (layout) => {
    let world: ZooKeeperWorld;
    let node: LockStore;
    const key = freshKey();
    let java: CuratorHolder;
    beforeEach(async () => {
      world = new ZooKeeperWorld(url!, { layout });
      node = await world.store();
      java = await curator.start(url!, layout, `${world.directory}/${key}`);
    });
    afterEach(() => world.close());

    it('Java holds, Node waits', async () => {
      expect(await java.acquire(5_000)).toBe(true);
      expect(await node.acquire(request(key)), 'a try').toBeNull();
      const waiting = take(node, key);
      await until('it to queue', async () => (await world.places()).length === 2);
      await java.release();
      await node.release(await waiting);
      expect(await java.acquire(5_000)).toBe(true);
      await java.release();
    });

    it('Node holds, Java waits', async () => {
      const grant = await take(node, key);
      expect(await java.acquire(300), 'in vain').toBe(false);
      const waiting = java.acquire(10_000);
      await until('it to queue', async () => (await world.places()).length === 2);
      expect(await node.release(grant)).toBe('released');
      expect(await waiting).toBe(true);
      expect(await node.acquire(request(key)), 'a try').toBeNull();
      await java.release();
      await node.release(await take(node, key));
    });

    it('are served in the order in which they came', async () => {
      const other = await curator.start(url!, layout, `${world.directory}/${key}`);
      const grant = await take(node, key);
      const served: string[] = [];
      const queued = (count: number) =>
        until('its place', async () => (await world.places()).length === count);
      const first = java.acquire(10_000).then(() => served.push('java'));
      await queued(2);
      const second = take(node, key).then((it) => {
        served.push('node');
        return it;
      });
      await queued(3);
      const third = other.acquire(10_000).then(() => served.push('java again'));
      await queued(4);
      await node.release(grant);
      await first;
      await java.release();
      await node.release(await second);
      await third;
      await other.release();
      expect(served).toEqual(['java', 'node', 'java again']);
    });

    it('free each other when one of them dies', async () => {
      expect(await java.acquire(5_000)).toBe(true);
      const waiting = take(node, key, { waitTimeMs: 30_000 });
      process.kill(java.pid, 'SIGKILL');
      await node.release(await waiting);
    });
  });

  it('control: with different layouts they do not see each other', async () => {
    const world = new ZooKeeperWorld(url!, { layout: 'mutex' });
    const key = freshKey();
    const node = await world.store();
    const java = await curator.start(url!, 'semaphore-mutex', `${world.directory}/${key}`);
    expect(await java.acquire(5_000)).toBe(true);
    await node.release(await take(node, key, { waitTimeMs: 0 }));
    await java.release();
    await world.close();
  });
});
