import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type Server } from 'node:tls';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { LockStoreUnavailableError } from '../../src/distributed-lock/distributed-lock.errors.js';
import { parseConnectString } from '../../src/distributed-lock/store/zookeeper/wire/connect-string.js';
import { zookeeperStore } from '../../src/distributed-lock/store/zookeeper/index.js';
import { freshKey, take } from '../contract/lock-store.contract.js';
import { failureOf } from '../lock/managed.js';
import { findBinary } from '../support/binaries.js';

const url = inject('zookeeperUrl');
/** Comes with Java, as ZooKeeper's server does. */
const keytool = findBinary(['keytool']);

/** A real server behind something that speaks TLS for it. */
describe.skipIf(url === null || !keytool)('zookeeper over TLS', () => {
  let terminator: Server;
  let connectString: string;
  let certificate: string;

  beforeAll(async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tls-'));
    const file = join(directory, 'store.p12');
    const place = ['-keystore', file, '-storepass', 'secret', '-alias', 'zk'];
    const names = ['-dname', 'CN=localhost', '-ext', 'SAN=dns:localhost,ip:127.0.0.1'];
    const kind = ['-keyalg', 'RSA', '-storetype', 'PKCS12', '-validity', '2'];
    const quiet = { stdio: 'pipe', encoding: 'utf8' } as const;
    execFileSync(keytool!, ['-genkeypair', ...place, ...names, ...kind], quiet);
    certificate = execFileSync(keytool!, ['-exportcert', '-rfc', ...place], quiet);
    const [target] = parseConnectString(url!).servers;
    const pfx = readFileSync(file);
    rmSync(directory, { recursive: true });
    terminator = createServer({ pfx, passphrase: 'secret' }, (client) => {
      const server = connect(target!);
      client.pipe(server).pipe(client);
      client.on('error', () => server.destroy());
      server.on('error', () => client.destroy());
    });
    terminator.on('tlsClientError', () => undefined); // what the control is about
    await new Promise<void>((resolve) => terminator.listen(0, '127.0.0.1', resolve));
    connectString = `127.0.0.1:${(terminator.address() as AddressInfo).port}`;
  });
  afterAll(() => terminator.close());

  it('takes and releases a lock', async () => {
    const store = zookeeperStore({ connectString, tls: { ca: certificate } });
    await store.open('tls', 10_000);
    expect(await store.release(await take(store, freshKey()))).toBe('released');
    await store.close();
  });

  it('does not accept a certificate that nobody vouches for', async () => {
    const store = zookeeperStore({ connectString, tls: true });
    const failure = await failureOf(store.open('tls', 500));
    expect(failure).toBeInstanceOf(LockStoreUnavailableError);
    expect(String(failure)).toContain('self-signed certificate');
    await store.close();
  });

  it('control: without TLS it gets nowhere', async () => {
    const store = zookeeperStore({ connectString });
    expect(await failureOf(store.open('tls', 500))).toBeInstanceOf(LockStoreUnavailableError);
    await store.close();
  });
});
