import { DistributedLock, type DistributedLockOptions } from 'nestjs-distributed-lock';
import { describe, expect, it } from 'vitest';

interface Command {
  readonly applicationId: string;
}

/** Every use that compiles, so that the refusals below are refusals of what they say and of nothing else. */
class Accepted {
  @DistributedLock('a:{0}')
  async expression(_id: string): Promise<void> {}

  @DistributedLock('a:{0}', {
    waitTime: '3s',
    leaseTime: 10_000,
    renew: false,
    use: 'jobs',
    transaction: false,
  })
  async expressionWithOptions(_id: string): Promise<void> {}

  @DistributedLock((id: string) => `a:${id}`)
  async typedKey(_id: string): Promise<number> {
    return 1;
  }

  @DistributedLock((id: string) => `a:${id}`, { waitTime: 0, onTimeout: 'throw' })
  async typedKeyWithOptions(_id: string, _other: number): Promise<number> {
    return 1;
  }

  @DistributedLock({ key: (command: Command) => [`a:${command.applicationId}`, 'b'] })
  async several(_command: Command): Promise<void> {}

  @DistributedLock({ key: () => 'all' })
  async noArguments(_id: string): Promise<void> {}

  @DistributedLock((id: string | number) => `a:${id}`)
  async widerKey(_id: string): Promise<void> {}

  @DistributedLock((id?: string) => `a:${id ?? 'all'}`)
  async optional(_id?: string): Promise<void> {}

  @DistributedLock((...ids: string[]) => ids)
  async rest(..._ids: string[]): Promise<void> {}

  @DistributedLock(function (this: Accepted, id: string) {
    return `${this.tenant}:${id}`;
  })
  async ofInstance(_id: string): Promise<void> {}

  @DistributedLock({ key: 'a', onTimeout: 'skip' })
  async skipVoid(): Promise<void> {}

  @DistributedLock('a', { onTimeout: 'skip' })
  async skipOptional(): Promise<number | undefined> {
    return 1;
  }

  @DistributedLock('a', { onTimeout: (context) => context.waitTimeMs })
  async fallback(): Promise<number> {
    return 1;
  }

  @DistributedLock({ key: (id: string) => id, onTimeout: async ({ keys }) => keys[0] ?? null })
  async asyncFallback(_id: string): Promise<string | null> {
    return null;
  }

  @DistributedLock('a:{0}', { scope: 'method', maxWaiters: 10 })
  async scoped(_id: string): Promise<void> {}

  @DistributedLock((id: string) => id, {
    signal: (_id: string, signal?: AbortSignal) => signal,
    when: (_id: string, _signal: AbortSignal | undefined, amount: number) => amount > 0,
  })
  async controlled(_id: string, _signal: AbortSignal | undefined, _amount: number): Promise<void> {}

  @DistributedLock({ key: 'a', signal: () => undefined, when: (id: string) => id !== '' })
  async controlledInOptions(_id: string): Promise<void> {}

  @DistributedLock('a')
  protected async protectedMethod(): Promise<void> {}

  @DistributedLock('a')
  async generic<T>(value: T): Promise<T> {
    return value;
  }

  readonly tenant = 'acme';
}

const shared: DistributedLockOptions<[string]> = { key: (id) => `a:${id}`, waitTime: '1s' };

class SharesOptions {
  @DistributedLock(shared)
  async run(_id: string): Promise<void> {}
}

class Refused {
  // @ts-expect-error the key reads a string, the method takes a number
  @DistributedLock((id: string) => `a:${id}`)
  async wrongType(_id: number): Promise<void> {}

  // @ts-expect-error the key reads an argument that the method does not take
  @DistributedLock((id: string) => `a:${id}`)
  async missing(): Promise<void> {}

  // @ts-expect-error the same in the options form
  @DistributedLock({ key: (id: string, other: string) => `a:${id}:${other}` })
  async missingSecond(_id: string): Promise<void> {}

  // @ts-expect-error the argument may be missing, the key does not allow for it
  @DistributedLock((id: string) => `a:${id}`)
  async maybeMissing(_id?: string): Promise<void> {}

  // @ts-expect-error the property of the argument has another type
  @DistributedLock((command: { applicationId: number }) => `a:${command.applicationId}`)
  async wrongProperty(_command: Command): Promise<void> {}

  // @ts-expect-error the signal reads an argument that the method does not take
  @DistributedLock('a', { signal: (_id: string, signal: AbortSignal) => signal })
  async wrongSignal(_id: string): Promise<void> {}

  // @ts-expect-error the condition reads another type than the method takes
  @DistributedLock({ key: (id: string) => id, when: (id: number) => id > 0 })
  async wrongWhen(_id: string): Promise<void> {}

  // @ts-expect-error a synchronous method cannot wait for its turn
  @DistributedLock('a')
  synchronous(): number {
    return 1;
  }

  // @ts-expect-error the same with a typed key
  @DistributedLock((id: string) => `a:${id}`)
  synchronousWithKey(id: string): string {
    return id;
  }

  // @ts-expect-error the same in the options form
  @DistributedLock({ key: 'a', waitTime: 0 })
  synchronousWithOptions(): void {}

  // @ts-expect-error a promise or a plain value: callers may not await it
  @DistributedLock('a')
  sometimes(now: boolean): Promise<number> | number {
    return now ? 1 : Promise.resolve(1);
  }

  // @ts-expect-error a skipped call resolves with undefined, the method does not
  @DistributedLock('a', { onTimeout: 'skip' })
  async skipped(): Promise<number> {
    return 1;
  }

  // @ts-expect-error the fallback has another type than the result
  @DistributedLock('a', { onTimeout: () => 'none' })
  async wrongFallback(): Promise<number> {
    return 1;
  }

  // @ts-expect-error the same in the options form, as a promise
  @DistributedLock({ key: 'a', onTimeout: async () => 'none' })
  async wrongAsyncFallback(): Promise<number> {
    return 1;
  }
}

/** Never called: wrong options would be refused at run time as well. */
export const refusedOptions = (): unknown => [
  // @ts-expect-error a key is formed synchronously
  DistributedLock(async (id: string) => `a:${id}`),
  // @ts-expect-error a key is a text or a list of texts
  DistributedLock((id: number) => id),
  // @ts-expect-error there is no key
  DistributedLock({ waitTime: '3s' }),
  // @ts-expect-error an option that does not exist
  DistributedLock('a', { ttl: 1 }),
  // @ts-expect-error the key stands in one place
  DistributedLock('a', { key: 'b' }),
  // @ts-expect-error no such way
  DistributedLock('a', { onTimeout: 'ignore' }),
  // @ts-expect-error no such scope
  DistributedLock('a', { scope: 'class' }),
  // @ts-expect-error a condition is synchronous: a promise is always true
  DistributedLock('a', { when: async () => true }),
  // @ts-expect-error a signal is a function: every call has its own
  DistributedLock('a', { signal: AbortSignal.timeout(1) }),
  // @ts-expect-error an option is left out, not undefined
  DistributedLock('a', { waitTime: undefined }),
];

describe('the types of @DistributedLock', () => {
  it('are checked by the compiler; the classes above are defined and decorated', () => {
    const methods = [Accepted, Refused, SharesOptions].flatMap(({ prototype }) =>
      Object.getOwnPropertyNames(prototype).filter((name) => name !== 'constructor'),
    );
    expect(methods).toHaveLength(34);
  });
});
