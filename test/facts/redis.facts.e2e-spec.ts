import { randomUUID } from 'node:crypto';
import { Redis, type RedisOptions } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type OwnRedis, startRedis } from '../support/services.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import { describeWith } from '../support/with-services.js';

/** What the Redis store relies on in Redis and in ioredis, as running proof. */
describeWith('ownRedis')('facts', () => {
  let own: OwnRedis;
  let admin: Redis;
  const clients: Redis[] = [];

  beforeAll(async () => {
    own = await startRedis();
    admin = new Redis(own.url);
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.disconnect();
    await admin.flushall();
  });
  afterAll(async () => {
    admin.disconnect();
    await own.stop();
  });

  function connect(options: RedisOptions = {}, url = own.url): Redis {
    const client = new Redis(url, options);
    client.on('error', () => undefined); // broken on purpose
    clients.push(client);
    return client;
  }

  describe('ioredis', () => {
    async function cutBefore(
      options: RedisOptions,
    ): Promise<{ error: unknown; counter: string | null }> {
      const proxy = await TcpProxy.forUrl(own.url);
      const client = connect({ ...options, retryStrategy: () => 10 }, proxy.url(own.url));
      await client.ping();
      const cut = proxy.cutBeforeReplyTo('incr');
      const answer = client.incr('counter').then(
        () => null,
        (error: unknown) => error,
      );
      await cut;
      const error = await answer;
      await until('the next connection', () => client.status === 'ready');
      await client.ping(); // whatever is sent again is sent before this
      const counter = await admin.get('counter');
      client.disconnect();
      await proxy.close();
      return { error, counter };
    }

    it('rejects a command at once when its connection breaks, and does not send it again', async () => {
      const { error, counter } = await cutBefore({
        maxRetriesPerRequest: 0,
        autoResendUnfulfilledCommands: false,
      });
      expect(String(error)).toMatch(/max retries per request/);
      expect(counter, 'executed once: the outcome was unknown').toBe('1');
    });

    it('control: by default it sends the command again', async () => {
      expect(await cutBefore({})).toEqual({ error: null, counter: '2' });
    });

    it('sends nothing later that was asked for while disconnected', async () => {
      const client = connect({ lazyConnect: true, enableOfflineQueue: false });
      await expect(client.set('early', '1')).rejects.toThrow(/writeable/);
      await until('the connection', () => client.status === 'ready');
      await client.ping();
      expect(await admin.get('early')).toBeNull();
    });

    it('keeps the order of commands, also where a script must be sent again', async () => {
      const client = connect();
      client.defineCommand('note', {
        numberOfKeys: 1,
        lua: `return redis.call('RPUSH', KEYS[1], ARGV[1]) -- ${randomUUID()}`,
      });
      const note = (text: string): Promise<unknown> =>
        (client as unknown as { note(key: string, text: string): Promise<unknown> }).note(
          'notes',
          text,
        );
      await note('0');
      await admin.script('FLUSH');
      await Promise.all([note('1'), client.rpush('notes', '2'), note('3')]);
      // What met NOSCRIPT is executed late: commands that must keep an order are scripts, all of them.
      const notes = await admin.lrange('notes', 0, -1);
      expect(notes.filter((text) => text !== '2')).toEqual(['0', '1', '3']);
    });

    it('puts its keyPrefix in front of keys, of neither channels nor script arguments', async () => {
      const client = connect({ keyPrefix: 'p:' });
      expect(await client.eval('return { KEYS[1], ARGV[1] }', 1, 'key', 'argument')).toEqual([
        'p:key',
        'argument',
      ]);
      await client.subscribe('channel');
      expect(await admin.pubsub('CHANNELS')).toEqual(['channel']);
    });

    it('sends what was written before disconnect()', async () => {
      const client = connect();
      await client.ping();
      void client.set('last', 'words').catch(() => undefined); // its answer is not waited for
      client.disconnect();
      await until('the command to arrive', async () => (await admin.get('last')) === 'words');
    });
  });

  describe('Redis', () => {
    it('tells a script how many subscribers a message reached, none for one that was killed', async () => {
      const publish = (): Promise<unknown> =>
        admin.eval("return redis.call('PUBLISH', 'inbox', 'x')", 0);
      expect(await publish()).toBe(0);
      const [one, two] = [connect({ retryStrategy: () => null }), connect()];
      await one.subscribe('inbox');
      await two.subscribe('inbox');
      expect(await publish()).toBe(2);
      const id = /id=(\d+).*? sub=1 /.exec(
        String(await admin.call('CLIENT', 'LIST', 'TYPE', 'pubsub')),
      )![1]!;
      await admin.call('CLIENT', 'KILL', 'ID', id);
      expect(await publish()).toBe(1);
    });

    it('refuses only the first write of a script when memory is full; DEL, ZREM and PEXPIRE always work', async () => {
      await admin.set('held', '1', 'PX', 60_000);
      await admin.config('SET', 'maxmemory', '1');
      try {
        const run = (lua: string): Promise<unknown> => admin.eval(lua, 0);
        await expect(run("return redis.call('SET', 'a', '1')")).rejects.toThrow(/OOM/);
        expect(await run("return redis.pcall('ZADD', 'z', 1, 'm').err")).toMatch(/OOM/);
        expect(await run("return redis.call('PEXPIRE', 'held', 90000)")).toBe(1);
        expect(await run("redis.call('DEL', 'x') redis.call('ZADD', 'z', 1, 'm') return 7")).toBe(
          7,
        );
        expect(await run("redis.call('ZREM', 'x', 'm') redis.call('SET', 'a', '1') return 8")).toBe(
          8,
        );
      } finally {
        await admin.config('SET', 'maxmemory', '0');
      }
    });

    it('lets a script read the clock and write: microseconds have 16 digits, which a double holds', async () => {
      const lua = `
        local time = redis.call('TIME')
        local micros = time[1] * 1000000 + time[2]
        redis.call('SET', 'clock', string.format('%.0f', micros))
        return { redis.call('GET', 'clock'), time[1], time[2], tostring(micros) }`;
      const [text, seconds, micros, short] = (await admin.eval(lua, 0)) as string[];
      expect(BigInt(text!)).toBe(BigInt(seconds!) * 1_000_000n + BigInt(micros!));
      expect(text).toHaveLength(16);
      expect(short, 'tostring() would round').toMatch(/e\+15$/);
      expect(Number(text)).toBeLessThan(Number.MAX_SAFE_INTEGER);
    });

    it('gives the digits of a 16-digit score back as they were', async () => {
      for (const score of ['1795323445256832', '1795323445256833', '9007199254740991']) {
        await admin.zadd('scores', score, score);
        expect(await admin.zscore('scores', score)).toBe(score);
        expect((await admin.zpopmin('scores'))[1]).toBe(score);
      }
    });

    it('takes the lowest score first, and ZADD NX leaves a score as it is', async () => {
      await admin.zadd('queue', 5, 'b', 3, 'a');
      await admin.zadd('queue', 'NX', 1, 'b');
      expect(await admin.zpopmin('queue')).toEqual(['a', '3']);
      expect(await admin.zpopmin('queue')).toEqual(['b', '5']);
      expect(await admin.zpopmin('queue')).toEqual([]);
    });

    it('answers PTTL with -1 for a key without an end and -2 for none; SET drops an old end', async () => {
      expect(await admin.pttl('key')).toBe(-2);
      await admin.set('key', '1', 'PX', 60_000);
      await admin.set('key', '2');
      expect(await admin.pttl('key')).toBe(-1);
    });

    it('never ends a lease early: the key is there for at least as long as was asked', async () => {
      const startedAt = performance.now();
      await admin.set('lease', '1', 'PX', 120);
      await until('the lease to end', async () => (await admin.exists('lease')) === 0, {
        everyMs: 1,
      });
      // The server's clock counts whole milliseconds.
      expect(performance.now() - startedAt).toBeGreaterThanOrEqual(119);
    });

    it('forgets scripts at SCRIPT FLUSH and answers NOSCRIPT, without having executed anything', async () => {
      const sha = String(await admin.script('LOAD', "return redis.call('INCR', 'runs')"));
      await admin.evalsha(sha, 0);
      await admin.script('FLUSH');
      await expect(admin.evalsha(sha, 0)).rejects.toThrow(/^NOSCRIPT/);
      expect(await admin.get('runs')).toBe('1');
    });
  });
});
