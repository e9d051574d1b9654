import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LockConfigurationError, type LockStore, memoryStore } from 'nestjs-distributed-lock';
import {
  type Granted,
  type Busy,
  queueingStore,
  type TakeRequest,
} from 'nestjs-distributed-lock/store';
import {
  type ContractOptions,
  contractOf,
  runContract,
  storeWorld,
} from 'nestjs-distributed-lock/testing';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { memoryStores } from '../contract/memory-world.js';
import { FileBackend } from './file-store.js';

interface DeclaredTest {
  readonly title: string;
  readonly body: () => Promise<void>;
  readonly timeoutMs: number;
}

/** What `runContract` declares, with a runner that runs nothing. */
function declaredBy(options: Omit<ContractOptions, 'describe' | 'it'>): readonly DeclaredTest[] {
  const tests: DeclaredTest[] = [];
  runContract({
    ...options,
    describe: (_title, body) => body(),
    it: (title, body, timeoutMs) => tests.push({ title, body, timeoutMs }),
  });
  return tests;
}

const { traits } = memoryStore();
const memory = { name: 'memory', traits, open: memoryStores };

describe('runContract', () => {
  afterEach(() => vi.unstubAllGlobals());

  it('declares a test per clause that the traits promise, and no other', () => {
    const sessions = { ...traits, ownership: 'session', offers: [] } as const;
    const titles = declaredBy({ ...memory, traits: sessions }).map(({ title }) => title);
    expect(titles).toEqual(contractOf(sessions).map(({ item, promise }) => `${item} ${promise}`));
    expect(titles).toContain('30 a grant of a session outlives its lease time');
    expect(titles).not.toContain('10 a renewed lease outlives its lease time');
    expect(titles.filter((title) => /permit|shared/.test(title))).toEqual([]);
    expect(new Set(titles).size).toBe(titles.length);
  });

  it.each([['it'], ['test']])('finds global functions: describe and %s', (name) => {
    const [group, declare] = [vi.fn((_title: string, body: () => void) => body()), vi.fn()];
    vi.stubGlobal('describe', group);
    vi.stubGlobal(name, declare);
    runContract(memory);
    expect(group).toHaveBeenCalledExactlyOnceWith('contract: memory', expect.any(Function));
    expect(declare).toHaveBeenCalledTimes(contractOf(traits).length);
  });

  it('without them: an error that names the option and what is allowed', () => {
    expect(() => runContract(memory)).toThrow(LockConfigurationError);
    expect(() => runContract(memory)).toThrow(/"describe" of runContract is undefined; allowed/);
    expect(() => runContract({ ...memory, describe: vi.fn() })).toThrow(/"it" of runContract/);
    expect(() => declaredBy({ ...memory, timeout: 'soon' })).toThrow(/"timeout" is "soon"/);
  });

  it('leaves the runner time to open and close the world', () => {
    for (const { timeoutMs } of declaredBy({ ...memory, timeout: '2s' }))
      expect(timeoutMs).toBeGreaterThan(2_000);
  });

  it('closes the world, whether the clause passes or fails', async () => {
    let closed = 0;
    const open = (store?: () => Promise<LockStore>) => () => {
      const world = memoryStores();
      const close = (): Promise<void> => ((closed += 1), world.close());
      return { ...world, ...(store && { store }), close };
    };
    const [passes] = declaredBy({ ...memory, open: open() });
    const unusable = Object.assign(memoryStore(), { acquire: async () => null });
    const [fails] = declaredBy({ ...memory, open: open(async () => unusable) });
    await passes!.body();
    expect(closed).toBe(1);
    await expect(fails!.body()).rejects.toThrow('was not granted');
    expect(closed).toBe(2);
  });
});

/** Two processes find the key free, and both write: what happens where the check and the write are two steps. */
class ChecksThenWrites extends FileBackend {
  constructor(
    directory: string,
    private readonly both: { arrived: number; open: () => void; readonly are: Promise<void> },
  ) {
    super(directory);
  }

  protected override async replace(directory: string, was: string, now: string): Promise<boolean> {
    this.both.arrived += 1;
    if (this.both.arrived === 2) this.both.open();
    await this.both.are;
    const [name] = await readdir(directory);
    await rename(join(directory, name ?? was), join(directory, now)).catch(() => undefined);
    return true;
  }
}

class KeepsLeasesForEver extends FileBackend {
  override take(request: TakeRequest): Promise<Granted | Busy> {
    return super.take({ ...request, leaseTimeMs: 3_600_000 });
  }
}

class RenewsNothing extends FileBackend {
  override async renew(turns: readonly unknown[]): Promise<readonly boolean[]> {
    return turns.map(() => true);
  }
}

describe('the contract, run over broken variants of the example, fails: a store that', () => {
  const both = () => {
    let open = (): void => undefined;
    const are = new Promise<void>((resolve) => (open = resolve));
    return { arrived: 0, open, are };
  };

  it.concurrent.each([
    {
      what: 'checks, then writes',
      variant: () => {
        const shared = both();
        return (directory: string) => new ChecksThenWrites(directory, shared);
      },
      clause: /^1 a key has one owner/,
      found: 'holders inside at the same time',
      timeout: '10s',
    },
    {
      what: 'keeps leases for ever',
      variant: () => (directory: string) => new KeepsLeasesForEver(directory),
      clause: /^11 a lease that is not renewed ends/,
      found: 'the clause has not ended after 1000 ms',
      timeout: '1s',
    },
    {
      what: 'renews nothing',
      variant: () => (directory: string) => new RenewsNothing(directory),
      clause: /^10 a renewed lease outlives/,
      found: 'strictly equal',
      timeout: '10s',
    },
  ])('$what', async ({ variant, clause, found, timeout }) => {
    const directory = await mkdtemp(join(tmpdir(), 'file-store-'));
    try {
      const make = variant();
      const tests = declaredBy({
        name: 'broken',
        traits: new FileBackend(directory).traits,
        timeout,
        open: () => storeWorld(() => queueingStore(make(directory))),
      });
      const broken = tests.find(({ title }) => clause.test(title))!;
      await expect(broken.body()).rejects.toThrow(found);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});

describe('queueingStore', () => {
  it.each([
    [{ maxGrants: 0 }, '"maxGrants" of queueingStore is 0; allowed: a whole number from 1 to 1000'],
    [{ maxGrants: 1.5 }, '"maxGrants" of queueingStore is 1.5'],
    [{ maxTimeMs: -1 }, '"maxTimeMs" of queueingStore is -1; allowed: 0 to'],
    [{ maxTimeMs: NaN }, '"maxTimeMs" of queueingStore is NaN'],
  ])('refuses %o', (bounds, message) => {
    expect(() => queueingStore(new FileBackend('unused'), bounds)).toThrow(message);
  });
});
