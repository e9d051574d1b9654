import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { ZooKeeperWorld } from '../contract/zookeeper-world.js';
import {
  Curator,
  type CuratorLock,
  type CuratorService,
  whyNoCurator,
} from '../support/curator.js';

const url = inject('zookeeperUrl');
const say = (line: string) => process.stderr.write(`${line}\n`);
const missing = url === null ? 'no ZooKeeper' : whyNoCurator(say);
if (missing !== null) say(`not tested: sharing locks with Curator (${missing})`);

const LAYOUTS = ['mutex', 'semaphore-mutex'] as const;

describe.skipIf(missing !== null)('services in Java and in Node', () => {
  let curator: Curator;
  let services: readonly CuratorService[];
  beforeAll(async () => {
    curator = await Curator.compile();
    services = await Promise.all([curator.start(url!), curator.start(url!)]);
  });
  afterAll(() => curator.close());

  describe.each(LAYOUTS)('with the layout %s', (layout) => {
    const key = freshKey();
    let world: ZooKeeperWorld;
    let node: LockStore;
    let java: CuratorLock;
    let other: CuratorLock;
    beforeEach(async () => {
      world = new ZooKeeperWorld(url!, { layout });
      node = await world.store();
      const path = `${world.directory}/${key}`;
      [java, other] = services.map((it) => it.lock(layout, path)) as [CuratorLock, CuratorLock];
    });
    afterEach(() => world.close());

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
  });

  it('free each other when one of them dies', async () => {
    const doomed = await curator.start(url!, 1_500);
    const key = freshKey();
    const worlds = LAYOUTS.map((layout) => new ZooKeeperWorld(url!, { layout }));
    const waiting: Promise<unknown>[] = [];
    for (const [index, world] of worlds.entries()) {
      const java = doomed.lock(LAYOUTS[index]!, `${world.directory}/${key}`);
      expect(await java.acquire(5_000)).toBe(true);
      const node = await world.store();
      waiting.push(take(node, key, { waitTimeMs: 30_000 }));
      await world.queued(1);
    }
    await doomed.kill();
    await Promise.all(waiting);
    await Promise.all(worlds.map((world) => world.close()));
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
