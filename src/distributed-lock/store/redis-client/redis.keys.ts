import type { LockKey } from '../../key/lock-key.js';

/** The names of one lock in Redis. They start with the application's prefix (for ACL rules). Most commands need two of them. */
export class RedisLockKeys {
  constructor(
    private readonly tag: string,
    /** One for all locks; in a Cluster one for each, since the keys of a script share a hash slot. */
    readonly fence: string,
  ) {}

  get lock(): string {
    return `${this.tag}:lock`;
  }

  get waiting(): string {
    return `${this.tag}:wait`;
  }

  /** Holders that are not alone. */
  get held(): string {
    return `${this.tag}:held`;
  }
}

/**
 * Names keys and channels: `<keyPrefix><namespace>:{<key>}:lock`, `…:wait`, `…:held`, `<keyPrefix><namespace>:fence` (in a Cluster
 * `…:{<key>}:fence`), and `<keyPrefix><namespace>:inbox:<process>`.
 */
export class RedisKeyspace {
  readonly #prefix: string;
  readonly #fence: string;

  constructor(
    keyPrefix: string,
    namespace: string,
    private readonly fencePerLock = false,
  ) {
    this.#prefix = `${keyPrefix}${namespace}:`;
    this.#fence = `${this.#prefix}fence`;
  }

  /** Made anew each time: it costs less than to look names up and to forget them again. */
  of(key: LockKey): RedisLockKeys {
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
