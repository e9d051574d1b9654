import type { LockKey } from '../../key/lock-key.js';

/** The names of one lock in Redis. They start with the application's prefix (for ACL rules) and share one hash slot. */
export interface RedisLockKeys {
  readonly lock: string;
  readonly fence: string;
  readonly waiting: string;
  /** Holders that are not alone. */
  readonly held: string;
}

/** Names keys and channels: `<keyPrefix><namespace>:{<key>}:lock`, `…:fence`, `…:wait`, `…:held`, and `<keyPrefix><namespace>:inbox:<process>`. */
export class RedisKeyspace {
  readonly #prefix: string;

  constructor(keyPrefix: string, namespace: string) {
    this.#prefix = `${keyPrefix}${namespace}:`;
  }

  of(key: LockKey): RedisLockKeys {
    // A brace in a key would end the hash tag early; `%` is encoded too, so that no two keys become one.
    const tag = `${this.#prefix}{${key.replace(/[%{}]/g, encodeURIComponent)}}`;
    return {
      lock: `${tag}:lock`,
      fence: `${tag}:fence`,
      waiting: `${tag}:wait`,
      held: `${tag}:held`,
    };
  }

  /** Prefix of inbox channels; a process's id follows. */
  get inbox(): string {
    return `${this.#prefix}inbox:`;
  }
}
