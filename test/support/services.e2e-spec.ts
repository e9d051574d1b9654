import { execFile, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { describe, expect, inject, it } from 'vitest';
import { createDatabase, getService, startRedis } from './services.js';
import { until } from './until.js';
import { databaseUrl, describeWith } from './with-services.js';

const SLOWLY = { deadlineMs: 30_000 };

const accepts = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket.destroy() !== undefined));
    socket.on('error', () => resolve(false));
  });

describeWith('ownRedis')('a Redis of the test’s own', () => {
  it('is empty on restart, keeps its port, and is gone after stop', async () => {
    const redis = await startRedis();
    const client = new Redis(redis.url, { retryStrategy: () => 20 });
    client.on('error', () => undefined); // the restart
    const firstPid = redis.pid;
    await client.set('kept', '1');
    await redis.restart();
    expect(await client.get('kept')).toBeNull();
    expect(redis.pid).not.toBe(firstPid);
    client.disconnect();
    await redis.stop();
    expect(await accepts(redis.port)).toBe(false);
  });

  it('answers nothing while frozen, and everything after', async () => {
    const redis = await startRedis();
    const client = new Redis(redis.url);
    await client.ping();
    redis.freeze();
    let answered = false;
    const reply = client.ping().then(() => (answered = true));
    const other = await startRedis(); // a whole server starts in the meantime
    expect(answered).toBe(false);
    redis.thaw();
    await reply;
    client.disconnect();
    await Promise.all([redis.stop(), other.stop()]);
  });

  it('can be stopped while frozen', async () => {
    const redis = await startRedis();
    redis.freeze();
    await redis.stop();
    expect(await accepts(redis.port)).toBe(false);
  });

  it('dies with a run that is killed with SIGKILL, and leaves no directory', async () => {
    const starter = `
      import '${new URL('../../.ci/typescript.mjs', import.meta.url).href}';
      const { startRedis } = await import('${new URL('services.ts', import.meta.url).href}');
      console.log((await startRedis()).port);
      setInterval(() => {}, 1000);`;
    // Of this test alone: other specs start servers at the same time.
    const directory = mkdtempSync(join(tmpdir(), 'distributed-lock-killed-'));
    const run = spawn(process.execPath, ['--input-type=module', '-e', starter], {
      cwd: fileURLToPath(new URL('.', import.meta.url)),
      env: { ...process.env, TMPDIR: directory },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const port = await new Promise<number>((resolve) => {
      run.stdout.on('data', (text) => resolve(Number(text)));
    });
    expect(await accepts(port)).toBe(true);
    expect(readdirSync(directory), 'control: it has one').not.toEqual([]);
    run.kill('SIGKILL');
    await until('the server to be gone', async () => !(await accepts(port)));
    await until('its directory to be gone', () => readdirSync(directory).length === 0);
    rmdirSync(directory);
  });
});

describe.skipIf(!inject('canStartMariadb'))('a MariaDB of the test’s own', () => {
  it.each(['while it is set up', 'while it runs'])(
    'dies with a run that is killed with SIGKILL %s, and leaves no directory',
    async (when) => {
      // Of this test alone, and the server's user can enter it.
      const directory = mkdtempSync(join(tmpdir(), 'distributed-lock-killed-'));
      chmodSync(directory, 0o755);
      const starter = `
      import '${new URL('../../.ci/typescript.mjs', import.meta.url).href}';
      const { startMariadb } = await import('${new URL('mariadb.ts', import.meta.url).href}');
      console.log((await startMariadb()).port);
      setInterval(() => {}, 1000);`;
      const run = spawn(process.execPath, ['--input-type=module', '-e', starter], {
        env: { ...process.env, TMPDIR: directory },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let port = '';
      run.stdout.on('data', (text: Buffer) => (port += text.toString()));
      const isSetUp = () =>
        readdirSync(directory).some((it) => existsSync(join(directory, it, 'data')));
      await until(when, () => (when === 'while it runs' ? port !== '' : isSetUp()), SLOWLY);
      run.kill('SIGKILL');
      await until('its directories to be gone', () => readdirSync(directory).length === 0, SLOWLY);
      expect(port !== '' && (await accepts(Number(port)))).toBe(false);
      rmdirSync(directory);
    },
  );
});

describeWith('postgres')('createDatabase', () => {
  it('gives each spec a database of its own, and drops it although it is in use', async () => {
    const [one, two] = [await createDatabase(databaseUrl()), await createDatabase(databaseUrl())];
    const client = new Client({ connectionString: one.url });
    client.on('error', () => undefined); // it is disconnected by the drop
    await client.connect();
    await client.query('CREATE TABLE only_here (id int)');
    await one.drop();
    await two.drop();
    await expect(new Client({ connectionString: one.url }).connect()).rejects.toThrow(
      /does not exist/,
    );
  });
});

describeWith()('getService', () => {
  it('uses the server that the environment names, and does not stop it', async () => {
    const given = process.env['MYSQL_URL'];
    process.env['MYSQL_URL'] = 'mysql://elsewhere:1/x';
    try {
      const service = await getService('mariadb', () => undefined);
      expect(service).toMatchObject({ url: 'mysql://elsewhere:1/x', origin: 'given' });
    } finally {
      if (given === undefined) delete process.env['MYSQL_URL'];
      else process.env['MYSQL_URL'] = given;
    }
  });

  it('says what it tried when a service cannot be had, and REQUIRE_SERVICES=all makes that an error', async () => {
    const script = `
      import '${new URL('../../.ci/typescript.mjs', import.meta.url).href}';
      const { getServices } = await import('${new URL('services.ts', import.meta.url).href}');
      process.getuid = () => 1000; // not root: nothing may be installed
      const services = await getServices(['mariadb', 'zookeeper'], console.error);
      console.log(JSON.stringify(services.missing));`;
    const run = (more: Record<string, string>) =>
      promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
        // Nothing can be started: no program is in the PATH, and there is no place for the data of one elsewhere.
        env: { PATH: '/nonexistent', TMPDIR: '/nonexistent', ...more },
      });
    const { stdout } = await run({});
    expect(stdout).toMatch(/MYSQL_URL is not set; .*no Docker engine answers/);
    expect(stdout).toMatch(/ZOOKEEPER_URL is not set; .*no ZooKeeper/);
    await expect(run({ REQUIRE_SERVICES: 'all' })).rejects.toThrow(
      /cannot be had: mariadb.*zookeeper/s,
    );
  });
});
