import { describe, expect, it } from 'vitest';
import { LockConfigurationError, LockKeyError } from '../distributed-lock.errors.js';
import { compileKeyExpression } from './key-expression.js';

const submit = async (
  applicationId: unknown,
  command?: unknown,
  ...others: unknown[]
): Promise<unknown> => [applicationId, command, others];

const key = (expression: string, ...args: unknown[]): string =>
  compileKeyExpression(expression, submit, 'Quotes.submit')(args);

const thrownBy = (run: () => unknown): Error => {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was thrown');
};

describe('a key expression', () => {
  it.each<[string, readonly unknown[], string]>([
    ['nightly-report', [], 'nightly-report'],
    ['application:{applicationId}', ['42'], 'application:42'],
    ['{applicationId}', ['42'], '42'],
    ['application:{0}', ['42'], 'application:42'],
    ['application:{1.applicationId}', [0, { applicationId: 7 }], 'application:7'],
    ['application:{command.applicant.id}', [0, { applicant: { id: 9n } }], 'application:9'],
    [
      'application:{command.a.b.c.d.e}',
      [0, { a: { b: { c: { d: { e: 'deep' } } } } }],
      'application:deep',
    ],
    ['first:{command.ids.0}', [0, { ids: ['x', 'y'] }], 'first:x'],
    ['all:{others.1}', [0, 0, 'a', 'b'], 'all:b'],
    ['flag:{applicationId}', [false], 'flag:false'],
    ['n:{applicationId}', [0], 'n:0'],
    ['{{{applicationId}}}:lock', ['42'], '{42}:lock'],
    ['신청:{applicationId}', ['서울 🏙'], '신청:서울 🏙'],
    ['a:{applicationId}', ['x:y%z'], 'a:x:y%z'],
  ])('%s of %o is %s', (expression, args, expected) => {
    expect(key(expression, ...args)).toBe(expected);
  });

  it('reads getters and inherited properties', () => {
    class Command {
      get applicationId(): string {
        return 'from a getter';
      }
    }
    class SpecialCommand extends Command {}
    expect(key('{command.applicationId}', 0, new SpecialCommand())).toBe('from a getter');
  });
});

describe('a call whose key cannot be formed', () => {
  it.each<[string, unknown, string]>([
    ['undefined', undefined, 'undefined'],
    ['null', null, 'null'],
    ['NaN', Number.NaN, 'NaN'],
    ['Infinity', Number.POSITIVE_INFINITY, 'Infinity'],
    ['an empty string', '', 'an empty string'],
    ['an object', { id: 1 }, 'an object (Object)'],
    ['an object without a prototype', Object.create(null), 'an object (no prototype)'],
    ['a list', ['a'], 'an array'],
    ['a date', new Date(0), 'an object (Date)'],
    ['a boxed string', Object('x'), 'an object (String)'],
    ['a function', () => 'x', 'a function'],
    ['a symbol', Symbol('x'), 'a symbol'],
  ])('is refused for %s, naming expression, placeholder and value', (_what, value, shown) => {
    const error = thrownBy(() => key('application:{applicationId}', value));
    expect(error).toBeInstanceOf(LockKeyError);
    expect(error.message).toContain('Quotes.submit');
    expect(error.message).toContain('"application:{applicationId}"');
    expect(error.message).toContain(`{applicationId} is ${shown}; allowed:`);
  });

  it.each<[string, unknown, string]>([
    ['{command.id}', {}, '{command.id} is undefined'],
    ['{command.id}', undefined, '"command" is undefined and has no "id"'],
    ['{command.user.id}', { user: null }, '"command.user" is null and has no "id"'],
    ['{command.user.id}', {}, '"command.user" is undefined and has no "id"'],
    ['{command.length}', 'text', '"command" is "text" and has no "length"'],
    ['{command.constructor.name}', {}, '"command.constructor" is a function and has no "name"'],
  ])('%s of %o says how far it got', (expression, command, said) => {
    const error = thrownBy(() => key(expression, 'x', command));
    expect(error).toBeInstanceOf(LockKeyError);
    expect(error.message).toContain(said);
  });

  it('keeps the error of a getter as the cause', () => {
    const cause = new Error('not loaded');
    const command = {
      get id(): string {
        throw cause;
      },
    };
    const error = thrownBy(() => key('{command.id}', 0, command));
    expect(error).toBeInstanceOf(LockKeyError);
    expect(error.cause).toBe(cause);
  });
});

describe('different values never make one key', () => {
  it('signs of the separators are encoded in the values', () => {
    expect(key('a:{0}:{1}', '1:2', '3')).toBe('a:1%3A2:3');
    expect(key('a:{0}:{1}', '1', '2:3')).toBe('a:1:2%3A3');
    expect(key('a:{0}:{1}', '1%3A2', '3')).toBe('a:1%253A2:3');
    expect(key('{0} → {1}', 'x → y', 'z')).toBe('x%20%E2%86%92%20y → z');
  });

  it.each(['a:{0}:{1}', '{0}-{1}-{2}', '{0}x-x{1}', '{0}%:{1}', '{0}→{1}:{2}end', '{0}::{1}'])(
    '%s: over all short values made of its own signs',
    (expression) => {
      const values = shortTexts([...new Set('a2%3A:-x→')], 2);
      const count = [...expression.matchAll(/\{\d\}/g)].length;
      const read = compileKeyExpression(expression, submit, 'Quotes.submit');
      const seen = new Map<string, string>();
      for (const args of tuples(count === 3 ? values.slice(0, 20) : values, count)) {
        const made = read(args);
        expect([undefined, args.join('\0')]).toContain(seen.get(made));
        seen.set(made, args.join('\0'));
      }
      expect(seen.size).toBeGreaterThan(5_000);
    },
  );

  it('control: the same values joined as they are do collide', () => {
    expect(['1:2', '3'].join(':')).toBe(['1', '2:3'].join(':'));
  });

  it.each(['{0}{1}', 'a:{0}and{1}', '{0}%{1}'])(
    '%s has no separator that could keep values apart',
    (expression) => {
      const error = thrownBy(() => key(expression, 'a', 'b'));
      expect(error).toBeInstanceOf(LockConfigurationError);
      expect(error.message).toContain('different values could make the same key');
    },
  );
});

describe('at class definition', () => {
  const compile = (expression: string, method: Function = submit) => {
    const error = thrownBy(() => compileKeyExpression(expression, method, 'Quotes.submit'));
    expect(error).toBeInstanceOf(LockConfigurationError);
    return error.message;
  };

  it.each([
    ['application:{applicationId', '"{" is never closed', 'position 12'],
    ['application:{a{b}', '"{" is never closed', 'position 12'],
    ['application}', '"}" closes nothing', 'position 11'],
    ['a:{}', '"{}" is not a placeholder', 'position 2'],
    ['a:{ id }', '"{ id }" is not a placeholder', 'position 2'],
    ['a:{a..b}', '"{a..b}" is not a placeholder', 'position 2'],
    ['a:{.b}', '"{.b}" is not a placeholder', 'position 2'],
  ])('%s is refused, with the position', (expression, what, position) => {
    const message = compile(expression);
    expect(message).toContain(`"${expression}"`);
    expect(message).toContain(what);
    expect(message).toContain(position);
  });

  it('an empty expression is refused', () => {
    expect(compile('')).toContain('option "key" is ""');
  });

  it('doubled braces where a placeholder was meant are refused: all calls would share one lock', () => {
    expect(compile('application:{{applicationId}}')).toContain('no placeholder');
  });

  it('an unknown name is refused, with the names there are', () => {
    expect(compile('a:{aplicationId}')).toContain('the method has: applicationId, command, others');
    expect(compile('a:{id}', async () => undefined)).toContain('the method has no parameters');
  });

  it('a name inside a destructured parameter is refused, with its position', () => {
    const message = compile('a:{id}', async (_first: string, { id }: { id: string }) => id);
    expect(message).toContain('destructured parameter 1');
    expect(message).toContain('{1.id}');
  });

  it.each<[string, Function]>([
    ['a proxy around the method', new Proxy(submit, {})],
    ['a bound method', submit.bind(null)],
  ])('names of %s are refused, with the ways out', (_what, method) => {
    const message = compile('a:{applicationId}', method);
    expect(message).toContain('parameter names cannot be read');
    expect(message).toContain('directly above the method');
    expect(message).toContain('{0}');
    expect(compileKeyExpression('a:{0}', method, 'Quotes.submit')(['42'])).toBe('a:42');
  });

  it("names of another decorator's wrapper are refused, with the ways out", () => {
    const wrapper = async (...args: unknown[]) => Reflect.apply(submit, null, args) as unknown;
    expect(compile('a:{applicationId}', wrapper)).toContain(
      'If another decorator has wrapped the method',
    );
  });
});

function shortTexts(alphabet: readonly string[], length: number): string[] {
  const texts = [...alphabet];
  for (let size = 2; size <= length; size += 1) {
    texts.push(
      ...texts
        .filter((it) => Array.from(it).length === size - 1)
        .flatMap((it) => alphabet.map((char) => it + char)),
    );
  }
  return texts;
}

function* tuples(values: readonly string[], count: number): Generator<string[]> {
  if (count === 0) return yield [];
  for (const value of values) for (const rest of tuples(values, count - 1)) yield [value, ...rest];
}
