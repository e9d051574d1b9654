import { Cluster } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { redlockStore, type RedlockStoreOptions } from './redlock.lock-store.js';

const urls = (count: number): string[] =>
  Array.from({ length: count }, (_, n) => `redis://node-${n}`);

describe('options of redlockStore', () => {
  it.each([1, 3, 5, 7])('take %i connections', (count) => {
    expect(redlockStore({ connections: urls(count) }).traits.name).toBe('redlock');
  });

  it.each([0, 2, 4])('refuse %i connections', (count) => {
    expect(() => redlockStore({ connections: urls(count) })).toThrow(
      `Option "connections" of redlockStore has ${count} entries; allowed: an odd number.`,
    );
  });

  const cluster = new Cluster(['redis://unused'], { lazyConnect: true });
  it.each<[string, object, string]>([
    ['a single URL', { connections: 'redis://a' }, '"connections" of redlockStore is "redis://a"'],
    ['nothing', {}, '"connections" of redlockStore is undefined'],
    ['a number', { connections: [7] }, '"connections[0]" of redlockStore is 7'],
    ['null', { connections: [null] }, '"connections[0]" of redlockStore is null'],
    ['http', { connections: ['http://a'] }, '"connections[0]" of redlockStore is "http://a"'],
    ['a replica', { connections: [{ role: 'slave' }] }, "has role: 'slave'"],
    ['a Cluster', { connections: [cluster] }, 'Use redisStore for a Cluster.'],
    ['a misspelt option', { connections: urls(3), retries: 3 }, '"redlockStore.retries"'],
    ['no time', { connections: urls(3), nodeTimeout: 0 }, '"redlockStore.nodeTimeout" is 0'],
    ['no pause', { connections: urls(3), longestPause: 1 }, '"redlockStore.longestPause" is 1'],
    ['no turn', { connections: urls(3), turnGrants: 0 }, '"turnGrants" of redlockStore is 0'],
  ])('refuse %s', (_what, options, message) => {
    expect(() => redlockStore(options as RedlockStoreOptions)).toThrow(message);
  });

  it('promise no fencing token and no order', () => {
    expect(redlockStore({ connections: urls(3) }).traits).toEqual({
      name: 'redlock',
      ownership: 'lease',
      fencing: 'none',
      fair: 'none',
      wakes: 'poll',
      reach: 'server',
      offers: [],
      keeps: 'server',
      showsHolders: 'none',
      forceRelease: 'none',
    });
  });
});
