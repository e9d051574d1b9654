import { describe, expect, it } from 'vitest';
import { LockConfigurationError, LockKeyError } from '../distributed-lock.errors.js';
import { compileCallKeys } from './call-keys.js';
import { lockKeys, MAX_KEY_BYTES } from './lock-key.js';

const method = async (id: string): Promise<string> => id;
const keys = (key: unknown, args: readonly unknown[] = ['42'], self: unknown = null) =>
  compileCallKeys(key, method, 'Quotes.submit')(self, args);

describe('a key function', () => {
  it('gets the arguments, and the instance as `this`', () => {
    const key = function (this: { tenant: string }, id: string): string {
      return `${this.tenant}:${id}`;
    };
    expect(keys(key, ['42'], { tenant: 'acme' })).toEqual(['acme:42']);
  });

  it('may return several keys: sorted, without duplicates', () => {
    expect(keys(() => ['b', 'a', 'b'])).toEqual(['a', 'b']);
  });

  it('passes its own error on as it is', () => {
    const error = new RangeError('no such tenant');
    const key = (): string => {
      throw error;
    };
    expect(() => keys(key)).toThrow(error);
  });

  it.each<[string, unknown, RegExp]>([
    ['an empty list, which would run the method without a lock', [], /without a lock/],
    ['nothing', undefined, /must be a string, not undefined/],
    ['an object', {}, /must be a string, not an object/],
    ['an empty text', '', /must not be empty/],
    ['a list with a hole', ['a', undefined], /must be a string, not undefined/],
    ['a lone surrogate', 'a\uD800', /lone surrogate/],
    ['a text that is too long', 'x'.repeat(MAX_KEY_BYTES + 1), /at most 512 bytes/],
    ['a promise', Promise.resolve('a'), /returned a promise/],
  ])('that returns %s is refused', (_what, returned, message) => {
    const call = () => keys(() => returned);
    expect(call).toThrow(LockKeyError);
    expect(call).toThrow(message);
  });

  it('that returns a promise which fails is refused, and leaves no unhandled rejection', async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    expect(() => keys(() => Promise.reject(new Error('unheard')))).toThrow(/returned a promise/);
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
  });

  it.each([undefined, null, Number.NaN, {}, new Map(), new Date(Number.NaN)])(
    'that prints %s into the key is refused',
    (missing) => {
      expect(() => keys(() => `application:${missing}`)).toThrow(/a value is missing/);
      expect(() => keys(() => `${missing}:quotes`)).toThrow(/a value is missing/);
      expect(() => keys(() => `tenant/${missing}/42`)).toThrow(/a value is missing/);
      expect(() => lockKeys(['fine', `${missing}`])).toThrow(/a value is missing/);
    },
  );

  it.each(['post:why-null-is-bad', 'undefined_behaviour', 'user:nullable', 'NaNa'])(
    'may return %s: the word is not a whole part',
    (text) => {
      expect(keys(() => text)).toEqual([text]);
    },
  );
});

describe('a key', () => {
  it('from an expression may read `null`, because the value was a text', () => {
    expect(keys('user:{id}', ['null'])).toEqual(['user:null']);
  });

  it('may have 512 bytes, counted in UTF-8', () => {
    expect(keys('{id}', ['가'.repeat(170) + 'ab'])[0]).toHaveLength(172);
    expect(() => keys('{id}', ['가'.repeat(171)])).toThrow(/has 513/);
  });

  it.each([42, null, undefined, ['a'], { key: 'a' }])(
    'given as %j is refused at class definition',
    (key) => {
      expect(() => compileCallKeys(key, method, 'Quotes.submit')).toThrow(LockConfigurationError);
      expect(() => compileCallKeys(key, method, 'Quotes.submit')).toThrow(
        /Quotes\.submit: option "key" is/,
      );
    },
  );
});
