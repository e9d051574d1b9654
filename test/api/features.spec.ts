import { readFileSync } from 'node:fs';
import { type LockStore, memoryStore, type StoreTraits } from 'nestjs-distributed-lock';
import { mysqlStore } from 'nestjs-distributed-lock/mysql';
import { postgresStore } from 'nestjs-distributed-lock/postgres';
import { redisStore } from 'nestjs-distributed-lock/redis';
import { redlockStore } from 'nestjs-distributed-lock/redlock';
import { tableStore } from 'nestjs-distributed-lock/table';
import { zookeeperStore } from 'nestjs-distributed-lock/zookeeper';
import { DataSource } from 'typeorm';
import { describe, expect, it } from 'vitest';
import { OFFERED_BY } from '../../src/distributed-lock/distributed-lock.admission.js';
import { OPERATED_BY } from '../../src/distributed-lock/distributed-lock.operator.js';

/** Never opened: what a store promises is known before it has a server. */
const STORES: Readonly<Record<string, LockStore>> = {
  Redis: redisStore({ connection: 'redis://unused' }),
  Redlock: redlockStore({ connections: ['redis://unused'] }),
  ZooKeeper: zookeeperStore({ connectString: 'unused:2181' }),
  PostgreSQL: postgresStore({ connection: 'postgres://unused/unused' }),
  'MySQL, MariaDB': mysqlStore({ connection: 'mysql://unused/unused' }),
  'a table': tableStore({
    dataSource: new DataSource({ type: 'postgres' }),
  }),
  memory: memoryStore(),
};

const yes = (has: boolean): string => (has ? 'yes' : '–');

const FEATURES: Readonly<Record<string, (traits: StoreTraits) => string>> = {
  'exclusive locks, re-entry, several keys, jobs, leader election, mutex objects': () => 'yes',
  'fencing tokens, so `fenced`': ({ fencing }) => yes(fencing !== 'none'),
  'read/write locks: `mode`': ({ offers }) => yes(offers.includes('shared')),
  'semaphores: `permits`': ({ offers }) => yes(offers.includes('permits')),
  'order of arrival over all servers': ({ fair, offers }) => {
    if (fair === 'fifo') return 'always';
    return offers.includes('fair') ? 'with `fair`' : '–';
  },
  '`holdAtLeast` outlives the server that ran': ({ keeps }) => yes(keeps === 'server'),
  'a crash frees the lock after': ({ ownership }) => `the ${ownership}`,
  'waiters learn of a release by': ({ wakes }) => (wakes === 'push' ? 'a message' : 'polling'),
  'who holds a lock: `stateOf` shows': ({ showsHolders }) =>
    ({ 'owner-and-token': 'owner, token', session: 'the session', none: '–' })[showsHolders],
  'ended by an operator: `forceRelease`': ({ forceRelease }) =>
    ({ hold: 'the hold', session: 'the session', none: '–' })[forceRelease],
};

const cells = (line: string): readonly string[] =>
  line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());

function tableOf(text: string): readonly (readonly string[])[] {
  const table = /<!-- features -->\n+((?:\|.*\n)+)/.exec(text)?.[1] ?? '';
  return table
    .trim()
    .split('\n')
    .filter((line) => !/^\|[\s:|-]+\|$/.test(line))
    .map(cells);
}

function expected(): readonly (readonly string[])[] {
  const stores = Object.values(STORES);
  return [
    ['', ...Object.keys(STORES)],
    ...Object.entries(FEATURES).map(([feature, of]) => [
      feature,
      ...stores.map(({ traits }) => of(traits)),
    ]),
  ];
}

describe('the table of features in the README', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

  it('says what the traits of the stores say', () => {
    const rows = expected().map((row) => `| ${row.join(' | ')} |`);
    expect(tableOf(readme), `the table should be:\n${rows.join('\n')}`).toEqual(expected());
  });

  it('control: one wrong cell is seen', () => {
    const wrong = readme.replace('| always ', '| –      ');
    expect(wrong).not.toBe(readme);
    expect(tableOf(wrong)).not.toEqual(expected());
  });
});

it('the advice for a store that does not offer it names those that do', () => {
  for (const [offer, named] of Object.entries(OFFERED_BY)) {
    const offering = Object.values(STORES)
      .map(({ traits }) => traits)
      .filter(({ offers }) => (offers as readonly string[]).includes(offer));
    expect(named.toSorted(), offer).toEqual(offering.map(({ name }) => name).toSorted());
  }
});

it.each(Object.keys(OPERATED_BY) as (keyof typeof OPERATED_BY)[])(
  'the advice for a store that cannot be asked for it names those that can: %s',
  (trait) => {
    const can = Object.values(STORES).filter(({ traits }) => traits[trait] !== 'none');
    expect(OPERATED_BY[trait].toSorted()).toEqual(can.map(({ traits }) => traits.name).toSorted());
  },
);
