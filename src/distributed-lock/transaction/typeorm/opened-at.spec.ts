import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { captureStack, describePlace } from './opened-at.js';

const library = fileURLToPath(new URL('.', import.meta.url));
const project = process.cwd();

describe('the place where a transaction was opened', () => {
  it.each([
    [
      'a method',
      `    at Bar.checkout (${project}/src/bar.ts:41:7)`,
      'Bar.checkout (src/bar.ts:41:7)',
    ],
    [
      'an async frame',
      `    at async Bar.checkout (${project}/src/bar.ts:41:7)`,
      'Bar.checkout (src/bar.ts:41:7)',
    ],
    ['a constructor', `    at new Bar (${project}/src/bar.ts:41:7)`, 'new Bar (src/bar.ts:41:7)'],
    [
      'an ES module',
      `    at checkout (file://${project}/src/bar.ts:41:7)`,
      'checkout (src/bar.ts:41:7)',
    ],
    ['a function without a name', `    at ${project}/src/bar.ts:41:7`, 'src/bar.ts:41:7'],
    [
      'a function called <anonymous>',
      `    at <anonymous> (${project}/src/bar.ts:41:7)`,
      'src/bar.ts:41:7',
    ],
    [
      'a file outside the project',
      '    at f (/elsewhere/bar.ts:41:7)',
      'f (/elsewhere/bar.ts:41:7)',
    ],
  ])('is shown for %s', (_what, frame, shown) => {
    expect(describePlace({ stack: `Error\n${frame}` })).toBe(shown);
  });

  it('is the first frame of the application', () => {
    const stack = [
      'Error',
      `    at TransactionSubscriber.beforeTransactionStart (${library}transaction-subscriber.ts:1:1)`,
      '    at Broadcaster.broadcast (/app/node_modules/typeorm/subscriber/Broadcaster.js:26:31)',
      '    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)',
      '    at async Promise.all (index 0)',
      '    at retry (/app/node_modules/some-package/index.js:3:4)',
      '    at async Bar.checkout (/app/src/bar.ts:41:7)',
      '    at async Foo.pay (/app/src/foo.ts:1:1)',
    ].join('\n');
    expect(describePlace({ stack })).toBe('Bar.checkout (/app/src/bar.ts:41:7)');
  });

  it('is a package where the application is not on the stack', () => {
    const stack = [
      'Error',
      '    at x (/app/node_modules/typeorm/x.js:1:1)',
      '    at run (/app/node_modules/p/i.js:3:4)',
    ];
    expect(describePlace({ stack: stack.join('\n') })).toBe('run (/app/node_modules/p/i.js:3:4)');
  });

  it('is null where nobody else is on the stack', () => {
    expect(
      describePlace({ stack: 'Error\n    at x (/app/node_modules/typeorm/x.js:1:1)' }),
    ).toBeNull();
    expect(describePlace({})).toBeNull();
  });

  it('is captured without formatting the stack, and leaves the limit as it was', () => {
    const { stackTraceLimit, prepareStackTrace } = Error;
    let formatted = 0;
    Error.prepareStackTrace = (error) => {
      formatted += 1;
      return String(error);
    };
    const place = captureStack();
    expect(formatted).toBe(0);
    expect(place.stack).toBeDefined();
    expect(formatted).toBe(1);
    Error.prepareStackTrace = prepareStackTrace;
    expect(Error.stackTraceLimit).toBe(stackTraceLimit);
  });
});
