import { Transactional as ClsTransactional } from '@nestjs-cls/transactional';
import { Injectable, type Type } from '@nestjs/common';
import { DistributedLock } from 'nestjs-distributed-lock';
import { Transactional as TypeormTransactional } from 'typeorm-transactional';
import { describe, expect, it } from 'vitest';
import { locks, startApp } from '../nest/support.js';
import { rejection } from '../transaction/spec-hold.js';

const LIBRARIES = [
  ['typeorm-transactional', TypeormTransactional],
  ['@nestjs-cls/transactional', ClsTransactional],
] as const satisfies readonly (readonly [string, () => MethodDecorator])[];

describe.each(LIBRARIES)('@DistributedLock and @Transactional of %s', (_, Transactional) => {
  const boot = (provider: Type) => startApp({ imports: [locks()], providers: [provider] });

  it('the lock above boots', async () => {
    @Injectable()
    class Payments {
      @DistributedLock('payment:{0}')
      @Transactional()
      async pay(_id: string): Promise<void> {}
    }
    expect((await boot(Payments)).get(Payments)).toBeInstanceOf(Payments);
  });

  it('the lock below is refused at boot, with advice', async () => {
    @Injectable()
    class Payments {
      @Transactional()
      @DistributedLock('payment:{id}')
      async pay(_id: string, id: string): Promise<string> {
        return id;
      }
    }
    expect(await rejection(boot(Payments))).toMatchObject({
      code: 'LOCK_CONFIGURATION',
      message: expect.stringMatching(
        /^Payments\.pay: another decorator wraps.*Put @DistributedLock above @Transactional/,
      ),
    });
  });

  it('the lock below is refused in a class that is extended, too', async () => {
    class Payments {
      @Transactional()
      @DistributedLock('payment:{id}')
      async pay(id: string): Promise<string> {
        return id;
      }
    }
    @Injectable()
    class CardPayments extends Payments {}
    expect(await rejection(boot(CardPayments))).toMatchObject({ code: 'LOCK_CONFIGURATION' });
  });

  it('the lock above with a parameter name is refused when the class is defined: a wrapper has no names', () => {
    const define = () => {
      class Payments {
        @DistributedLock('payment:{id}')
        @Transactional()
        async pay(_id: string): Promise<void> {}
      }
      return Payments;
    };
    expect(define).toThrow('use a position such as {0}, or a function');
  });
});
