import type { LockKey } from '../../key/lock-key.js';

/** The names of one lock in Redis. They start with the application's prefix (for ACL rules). Most commands need two of them. */
export class RedisLockKeys {
  readonly lock: string;
  readonly waiting: string;

  constructor(
    private readonly tag: string,
    /** One for all locks; in a Cluster one for each, since the keys of a script share a hash slot. */
    readonly fence: string,
  ) {
    this.lock = `${tag}:lock`;
    this.waiting = `${tag}:wait`;
  }

  /** Holders that are not alone. */
  get held(): string {
    return `${this.tag}:held`;
  }
}

const MOST_NAMES = 1_000;

/**
 * Names keys and channels: `<keyPrefix><namespace>:{<key>}:lock`, `…:wait`, `…:held`, `<keyPrefix><namespace>:fence` (in a Cluster
 * `…:{<key>}:fence`), and `<keyPrefix><namespace>:inbox:<process>`.
 */
export class RedisKeyspace {
  readonly #prefix: string;
  readonly #fence: string;
  /** Names are made for each command of a lock; those made last are at hand. */
  readonly #made = new Map<LockKey, RedisLockKeys>();

  constructor(
    keyPrefix: string,
    namespace: string,
    private readonly fencePerLock = false,
  ) {
    this.#prefix = `${keyPrefix}${namespace}:`;
    this.#fence = `${this.#prefix}fence`;
  }

  of(key: LockKey): RedisLockKeys {
    let names = this.#made.get(key);
    if (!names) {
      if (this.#made.size === MOST_NAMES) this.#made.clear();
      this.#made.set(key, (names = this.#make(key)));
    }
    return names;
  }

  #make(key: LockKey): RedisLockKeys {
    // A brace in a key would end the hash tag early; `%` is encoded too, so that no two keys become one.
    const name = /[%{}]/.test(key) ? key.replace(/[%{}]/g, encodeURIComponent) : key;
    const tag = `${this.#prefix}{${name}}`;
    return new RedisLockKeys(tag, this.fencePerLock ? `${tag}:fence` : this.#fence);
  }

  /** Prefix of inbox channels; a process's id follows. */
  get inbox(): string {
    return `${this.#prefix}inbox:`;
  }
}
