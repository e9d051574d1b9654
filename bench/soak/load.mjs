/** Callers of every kind, in loops, over two applications that share one Redis and one PostgreSQL. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DistributedLockError, DistributedLockService } from 'nestjs-distributed-lock';

const KEYS = 200;
const HOT = 3;
const CUT_EVERY_MS = 5_000;

const any = (count) => Math.floor(Math.random() * count);

/** Runs until `end`; between `pause` and `resume` nobody asks for anything. */
export class Load {
  /** Calls that ended, by how they ended. */
  counts = {};
  violations = 0;
  /** Given to every call that takes a signal: what is left on it is a leak. */
  signal = new AbortController().signal;
  #inside = new Map();
  #running = [];
  #gate = Promise.resolve();
  #open = () => undefined;
  #busy = 0;
  #ended = false;

  constructor(apps, admin, leak) {
    this.locks = apps.map((app) => app.get(DistributedLockService));
    this.admin = admin;
    this.leak = leak;
  }

  start() {
    const kinds = [
      [24, () => this.#locked(`own:${any(KEYS)}`)],
      [32, () => this.#locked(`hot:${any(HOT)}`)],
      [4, () => this.#locked([`own:${any(KEYS)}`, `own:${any(KEYS)}`, `hot:${any(HOT)}`])],
      [4, () => this.#locked(`long:${any(4)}`, { leaseTime: 300 }, 800)],
      [4, () => this.#locked(`hot:${any(HOT)}`, { waitTime: any(5) })],
      [4, () => this.#aborted()],
      [4, () => this.#reEntered()],
      [4, () => this.#tried()],
      [4, () => this.#transaction()],
    ];
    for (const [callers, work] of kinds) {
      for (let n = 0; n < callers; n += 1) this.#running.push(this.#loop(work));
    }
    this.#running.push(this.#cutConnections());
  }

  /** Resolves when nobody is inside or waiting. */
  async pause() {
    this.#gate = new Promise((resolve) => (this.#open = resolve));
    while (this.#busy > 0) await sleep(5);
  }

  resume() {
    this.#open();
  }

  async end() {
    this.#ended = true;
    await Promise.all(this.#running);
  }

  async #loop(work) {
    while (!this.#ended) {
      await this.#gate;
      this.#busy += 1;
      try {
        await work();
        this.#count('served');
      } catch (error) {
        const expected = error instanceof DistributedLockError || error?.name === 'TimeoutError';
        this.#count(expected ? error.name : `unexpected ${error?.name}: ${error?.message}`);
      }
      this.leak();
      this.#busy -= 1;
      await sleep(any(3));
    }
  }

  #service() {
    return this.locks[any(this.locks.length)];
  }

  #locked(keys, options = {}, workMs = any(2)) {
    return this.#service().withLock(keys, { signal: this.signal, ...options }, (hold) =>
      this.#section(hold, [keys].flat(), workMs),
    );
  }

  /** While the hold says that it holds, nobody else may be inside. */
  async #section(hold, keys, workMs) {
    for (const key of new Set(keys)) {
      const other = this.#inside.get(key);
      if (other?.isHeld() && hold.isHeld()) this.violations += 1;
      this.#inside.set(key, hold);
    }
    try {
      await sleep(workMs);
      hold.assertHeld();
    } finally {
      for (const key of keys) if (this.#inside.get(key) === hold) this.#inside.delete(key);
    }
  }

  #aborted() {
    return this.#locked(`hot:${any(HOT)}`, { signal: AbortSignal.timeout(1 + any(10)) });
  }

  #reEntered() {
    const locks = this.#service();
    const key = `own:${any(KEYS)}`;
    return locks.withLock(key, () => locks.withLock(key, () => sleep(any(2))));
  }

  async #tried() {
    const hold = await this.#service().tryAcquire(`hot:${any(HOT)}`);
    await hold?.release();
  }

  #transaction() {
    const id = any(HOT);
    return this.#service().withTransaction(`account:${id}`, ({ manager }) =>
      manager.query('UPDATE account SET balance = balance + 1 WHERE id = $1', [id]),
    );
  }

  async #cutConnections() {
    while (!this.#ended) {
      await sleep(CUT_EVERY_MS * (0.5 + Math.random()));
      await this.admin.call('CLIENT', 'KILL', 'TYPE', Math.random() < 0.5 ? 'normal' : 'pubsub');
      this.#count('connections cut');
    }
  }

  #count(what) {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }
}
