import { describe, expect, it } from 'vitest';
import { refusal } from './mysql.boot.js';

const MARIADB = {
  version: '10.11.19-MariaDB-log',
  read_only: 'OFF',
  wsrep_on: 'OFF',
  wsrep_provider: 'none',
};
const MYSQL = {
  version: '8.4.3',
  read_only: 'OFF',
  super_read_only: 'OFF',
  innodb_read_only: 'OFF',
};

describe('a server', () => {
  it.each([
    MARIADB,
    MYSQL,
    { version: '5.7.5' },
    { version: '10.0.2-MariaDB' },
    // MariaDB builds with Galera say this when it is not used.
    { ...MARIADB, wsrep_on: 'ON' },
    { ...MYSQL, group_replication_group_name: '', group_replication_single_primary_mode: 'OFF' },
    { ...MYSQL, group_replication_group_name: 'a-b', group_replication_single_primary_mode: 'ON' },
  ])('whose named locks exclude everybody is accepted: %o', (variables) => {
    expect(refusal(new Map(Object.entries(variables)))).toBeNull();
  });

  it.each([
    [{ ...MARIADB, wsrep_on: 'ON', wsrep_provider: '/usr/lib/galera/libgalera_smm.so' }, /Galera/],
    [
      {
        ...MYSQL,
        group_replication_group_name: 'a-b',
        group_replication_single_primary_mode: 'OFF',
      },
      /several primaries/,
    ],
    [{ ...MARIADB, read_only: 'ON' }, /read-only/],
    [{ ...MARIADB, read_only: 'NO_LOCK_NO_ADMIN' }, /read-only/],
    [{ ...MYSQL, super_read_only: '1' }, /read-only/],
    [{ ...MYSQL, innodb_read_only: 'ON' }, /read-only/],
    [{ version: '5.6.51' }, /5\.6\.51 lets a session have one named lock only/],
    [{ version: '5.5.68-MariaDB' }, /MariaDB 10\.0\.2 is the oldest/],
  ])('whose named locks do not is refused: %o', (variables, reason) => {
    expect(refusal(new Map(Object.entries(variables)))).toMatch(reason);
  });
});
