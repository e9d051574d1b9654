import * as fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import {
  MemoryBackend,
  MemoryWorld,
} from '../../src/distributed-lock/store/memory/memory.backend.js';
import { QueueingLockStore } from '../../src/distributed-lock/store/queueing.lock-store.js';
import type {
  HeldTurn,
  TokenBlock,
  TurnRef,
} from '../../src/distributed-lock/store/turn-backend.js';
import { VirtualTime } from '../protocol/model/virtual-time.js';
import { type CrashingStore, playLocks, type Step, steps } from './lock-run.js';

vi.mock('../../src/distributed-lock/distributed-lock.clock.js', async () => {
  const { clock } = await import('../protocol/model/virtual-time.js');
  return { now: clock.now };
});

/** A backend whose process was killed: nothing it says arrives, nothing is answered. */
class MortalBackend extends MemoryBackend {
  dead = false;

  constructor(protected readonly shared: MemoryWorld) {
    super(shared);
  }

  override take(...args: Parameters<MemoryBackend['take']>): ReturnType<MemoryBackend['take']> {
    return this.dead ? never() : super.take(...args);
  }

  override pass(...args: Parameters<MemoryBackend['pass']>): ReturnType<MemoryBackend['pass']> {
    return this.dead ? never() : super.pass(...args);
  }

  override renew(...args: Parameters<MemoryBackend['renew']>): ReturnType<MemoryBackend['renew']> {
    return this.dead ? never() : super.renew(...args);
  }

  override giveBack(
    ...args: Parameters<MemoryBackend['giveBack']>
  ): ReturnType<MemoryBackend['giveBack']> {
    return this.dead ? never() : super.giveBack(...args);
  }

  override deliver(key: LockKey): void {
    if (!this.dead) super.deliver(key);
  }
}

const never = (): Promise<never> => new Promise(() => undefined);

interface Setting {
  readonly managers: number;
  readonly maxGrants: number;
  readonly script: readonly Step[];
}

const settings: fc.Arbitrary<Setting> = fc.record({
  managers: fc.integer({ min: 1, max: 4 }),
  maxGrants: fc.constantFrom(1, 2, 16),
  script: steps,
});

type Worlds = new () => MemoryWorld;
type Backends = new (world: MemoryWorld) => MortalBackend;

async function play(
  setting: Setting,
  World: Worlds = MemoryWorld,
  Backend: Backends = MortalBackend,
): Promise<readonly string[]> {
  const time = new VirtualTime();
  const uninstall = time.install();
  const performanceNow = vi.spyOn(performance, 'now').mockImplementation(() => time.now);
  try {
    return await playIn(time, setting, new World(), Backend);
  } finally {
    performanceNow.mockRestore();
    uninstall();
  }
}

async function playIn(
  time: VirtualTime,
  { managers, maxGrants, script }: Setting,
  world: MemoryWorld,
  Backend: Backends,
): Promise<readonly string[]> {
  const stores = Array.from({ length: managers }, (_, n): CrashingStore => {
    const backend = new Backend(world);
    const store = new QueueingLockStore(backend, `p${n}`, { maxGrants });
    return { store, crash: () => (backend.dead = true) };
  });
  const violations = await playLocks(time, stores, script);
  return [...violations, ...leftIn(world, script)];
}

/** Keys and places in queues must not outlive their callers. A crashed process leaves its place, until it would be woken. */
function leftIn(world: MemoryWorld, script: readonly Step[]): readonly string[] {
  const live = [...world.entries.keys()].filter((key) => world.live(key));
  const crashes = script.some(({ type }) => type === 'crash');
  return [
    ...live.map((key) => `${key} is still closed`),
    ...(crashes
      ? []
      : [...world.waiting.keys()].map((key) => `a place in the queue of ${key} is left`)),
  ];
}

describe('whatever 1 to 4 managers do with 2 keys', () => {
  it('keeps one holder per key, order, growing tokens, and leaves nothing behind', async () => {
    await fc.assert(
      fc.asyncProperty(settings, async (setting) => {
        expect(await play(setting)).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});

/** Worlds and processes with one defect each: the property must find it. */
class ForgetfulWorld extends MemoryWorld {
  override live(key: LockKey) {
    const entry = super.live(key);
    // A lease that the server ends before its holder does.
    return entry && entry.expiresAtMs - performance.now() > 300 ? entry : undefined;
  }
}

class RepeatingWorld extends MemoryWorld {
  override tokens(): TokenBlock {
    return { first: 1n, size: 1_000 };
  }
}

class OpenBackend extends MortalBackend {
  override async giveBack(turn: TurnRef, more: boolean) {
    const { owner } = this.shared.live(turn.key) ?? {};
    return super.giveBack({ ...turn, owner: owner ?? turn.owner }, more);
  }
}

class BelievingBackend extends MortalBackend {
  override renew(turns: readonly HeldTurn[]) {
    return this.dead ? Promise.resolve(turns.map(() => true)) : super.renew(turns);
  }
}

describe('control: the property finds', () => {
  it.each<[string, Worlds | undefined, Backends | undefined]>([
    ['a lease that ends too early at the server', ForgetfulWorld, undefined],
    ['tokens that do not grow', RepeatingWorld, undefined],
    ['a give-back that frees the key of whoever has it', undefined, OpenBackend],
    ['a process that believes in renewals which the server never had', undefined, BelievingBackend],
  ])('%s', async (_defect, World, Backend) => {
    const found = await fc.check(
      fc.asyncProperty(settings, async (setting) => {
        expect(await play(setting, World, Backend)).toEqual([]);
      }),
      { numRuns: 300, endOnFailure: true },
    );
    expect(found.failed).toBe(true);
  });
});
