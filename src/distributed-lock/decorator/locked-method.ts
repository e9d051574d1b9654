import 'reflect-metadata';
import { ADMISSION_OPTIONS, checkAdmission } from '../distributed-lock.admission.js';
import { show } from '../distributed-lock.duration.js';
import { LockConfigurationError } from '../distributed-lock.errors.js';
import {
  type LockMethodOptions,
  type OnTimeout,
  refuseUnknownOptions,
  resolveTimes,
} from '../distributed-lock.options.js';
import { type CallKeys, compileCallKeys, scopedKeys } from '../key/call-keys.js';
import { checkSignal, checkWhen, type OfCall } from './call-options.js';
import { keyPrefixOf, type MethodPlace } from './key-scope.js';

// oxlint-disable-next-line typescript/no-explicit-any -- a method of any class: the wrapper passes its arguments on unread
export type AnyMethod = (this: any, ...args: any[]) => unknown;

/** One method as its decorator describes it. Checked when the class is defined; knows no module yet. */
export interface LockedMethod {
  /** `Class.method`. */
  readonly where: string;
  /** Name of the module whose locks it takes. */
  readonly use: string;
  readonly keys: CallKeys;
  /** What its keys begin with; `''` where they are shared with other methods. */
  readonly keyPrefix: string;
  readonly signal: OfCall<AbortSignal | undefined>;
  readonly needsLock: OfCall<boolean>;
  readonly options: LockMethodOptions;
}

/** Name of a module that was given none. */
export const DEFAULT_NAME = 'default';

const KNOWN = [
  'key',
  'use',
  'waitTime',
  'leaseTime',
  'renew',
  ...ADMISSION_OPTIONS,
  'scope',
  'maxWaiters',
  'holdAtLeast',
  'holdAtMost',
  'signal',
  'when',
  'awaitRelease',
  'transaction',
  'onTimeout',
];

/** @throws {LockConfigurationError} naming `Class.method`, the option, its value and what is allowed. */
export function describeLockedMethod(
  place: MethodPlace,
  method: AnyMethod,
  given: object,
): LockedMethod {
  const { where } = place;
  refuseUnknownOptions(`${where}: `, given, KNOWN);
  const {
    key,
    use = DEFAULT_NAME,
    scope,
    signal,
    when,
    ...options
  } = given as LockMethodOptions & Record<'key' | 'use' | 'scope' | 'signal' | 'when', unknown>;
  if (typeof use !== 'string' || use === '') {
    throw new LockConfigurationError(
      `Option "${where}: use" is ${show(use)}; allowed: the name of a module.`,
    );
  }
  resolveTimes(options, undefined, `${where}: `);
  checkAdmission(options, `${where}: `);
  checkOnTimeout(where, options.onTimeout);
  checkTransaction(where, options.transaction);
  const keyPrefix = keyPrefixOf(place, scope);
  return {
    where,
    use,
    keys: scopedKeys(compileCallKeys(key, method, where), keyPrefix),
    keyPrefix,
    signal: checkSignal(where, signal),
    needsLock: checkWhen(where, when),
    options,
  };
}

function checkOnTimeout(where: string, given: OnTimeout | undefined): void {
  if (given === undefined || given === 'throw' || given === 'skip' || typeof given === 'function')
    return;
  throw new LockConfigurationError(
    `Option "${where}: onTimeout" is ${show(given)}; allowed: 'throw', 'skip', or a function that returns a value.`,
  );
}

/** What the options of a transaction mean is checked by the module's transactions, at boot. */
function checkTransaction(where: string, given: unknown): void {
  if (given === undefined || typeof given === 'boolean') return;
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) return;
  throw new LockConfigurationError(
    `Option "${where}: transaction" is ${show(given)}; allowed: true, false, or the options of a transaction.`,
  );
}

/** Methods cannot be asked for their decorators, so every wrapper is remembered with its description. */
const WRAPPERS = new WeakMap<object, LockedMethod>();

/** Other decorators copy metadata to their own wrappers; then a function has this key without being a wrapper of ours. */
const LOCKED_METHOD = Symbol('locked method');

export function markAsLocked(wrapper: AnyMethod, locked: LockedMethod): void {
  WRAPPERS.set(wrapper, locked);
  Reflect.defineMetadata(LOCKED_METHOD, locked, wrapper);
}

/** Whether the function is a locked method, or another decorator's wrapper around one. */
export function isMarkedAsLocked(method: AnyMethod): boolean {
  return Reflect.hasOwnMetadata(LOCKED_METHOD, method);
}

/**
 * The locked methods that a prototype defines itself.
 *
 * @throws {LockConfigurationError} if another decorator's wrapper is around the lock: what it opens (a transaction) would end after
 * the lock is released. Wrappers cannot be told apart, so the harmless ones (logging, tracing) are refused too: they work
 * below the lock. A wrapper that does not copy metadata is not seen here.
 */
export function* lockedMethodsOf(prototype: object): Generator<LockedMethod> {
  for (const name of Reflect.ownKeys(prototype)) {
    // A getter is not run: only methods can be locked.
    const method: unknown = Object.getOwnPropertyDescriptor(prototype, name)?.value;
    if (typeof method !== 'function') continue;
    const wrapper = WRAPPERS.get(method);
    if (wrapper !== undefined) {
      yield wrapper;
      continue;
    }
    const inner = Reflect.getOwnMetadata(LOCKED_METHOD, method) as LockedMethod | undefined;
    if (inner === undefined) continue;
    throw new LockConfigurationError(
      `${inner.where}: another decorator wraps the method outside the lock. If it opens a transaction, that one commits after the lock ` +
        'is released, and the lock protects nothing. Put @DistributedLock above @Transactional and above every other decorator that wraps ' +
        'the method; decorators that only set metadata (@Get, @UseGuards, @Cron, …) may stand on either side.',
    );
  }
}
