import { describe, expect, it } from 'vitest';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { parseConnectString } from './wire/connect-string.js';
import { checkOptions, type ZooKeeperStoreOptions } from './zookeeper.options.js';

const connectString = 'zk:2181';

describe('options of zookeeperStore', () => {
  it.each<[string, unknown, RegExp]>([
    ['connectString', undefined, /"connectString" .* is undefined; allowed: 'host:port/],
    ['connectString', 'zookeeper://zk:2181', /"connectString"/],
    ['connectString', 'zk:99999', /"connectString"/],
    ['connectString', 'zk:2181,', /"connectString"/],
    ['connectString', 'zk:2181/a//b', /"connectString"/],
    ['root', 'lock', /"root" .* is "lock"; allowed: an absolute path/],
    ['root', '/', /"root"/],
    ['root', '/lock/', /"root"/],
    ['root', '/lock/../x', /"root"/],
    ['root', '/zookeeper/locks', /"root"/],
    ['layout', 'semaphore', /"layout" .* allowed: "mutex", "read-write", "semaphore-mutex"/],
    ['namespaceInPath', 'no', /namespaceInPath/],
    ['sessionTimeout', '10', /sessionTimeout/],
    ['sessionTimeout', 999, /allowed: 1000 ms/],
    ['auth', { scheme: 'digest' }, /"auth" .* allowed: { scheme: 'digest'/],
    ['acl', 'creator', /only together with "auth"/],
    ['acl', [], /"acl"/],
    ['acl', [{ scheme: 'world', id: 'anyone', permissions: 'x' }], /"acl"/],
    ['tls', 'yes', /"tls"/],
    ['openSession', 1, /nothing beside "openSession"/],
    ['chroot', '/app', /"zookeeperStore.chroot" is not known/],
  ])('refuses %s = %j', (option, value, message) => {
    const options = { connectString, [option]: value } as ZooKeeperStoreOptions;
    expect(() => checkOptions(options)).toThrow(LockConfigurationError);
    expect(() => checkOptions(options)).toThrow(message);
  });

  it('never shows credentials', () => {
    const auth = { scheme: 7, credentials: 'user:secret' } as never;
    expect(() => checkOptions({ connectString, auth })).toThrow(/^(?!.*secret)/);
  });

  it('adds up the permissions of an ACL', () => {
    const acl = [{ scheme: 'ip', id: '10.0.0.0/8', permissions: 'crrd' }];
    const { client } = checkOptions({ connectString, acl });
    expect(client).toMatchObject({ acl: [{ scheme: 'ip', id: '10.0.0.0/8', permissions: 13 }] });
  });

  it.each([
    ['zk', [{ host: 'zk', port: 2181 }], ''],
    [
      'a:1,b:2/app/x',
      [
        { host: 'a', port: 1 },
        { host: 'b', port: 2 },
      ],
      '/app/x',
    ],
    ['[::1]:2182', [{ host: '::1', port: 2182 }], ''],
    ['10.0.0.1:2181/', [{ host: '10.0.0.1', port: 2181 }], ''],
  ])('reads the connect string %s', (text, servers, chroot) => {
    expect(parseConnectString(text)).toEqual({ servers, chroot });
  });
});
