import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type KeyState,
  type LockKey,
  type LockStore,
  LockStoreUnavailableError,
  type StoreTraits,
} from 'nestjs-distributed-lock';
import {
  type Busy,
  type GiveBackAnswer,
  type Granted,
  type HeldTurn,
  type PassAnswer,
  queueingStore,
  type TakeRequest,
  type TokenBlock,
  type TurnBackend,
  type TurnRef,
} from 'nestjs-distributed-lock/store';

/** Locks of all processes of one machine that see the directory. */
export function fileStore(options: { readonly directory: string }): LockStore {
  return queueingStore(new FileBackend(options.directory));
}

/** Of a key: the name of the one file in its directory. */
interface State {
  /** Grows with every turn. */
  readonly turn: bigint;
  /** Nobody, where a key is free, or kept closed. */
  readonly owner: string;
  /** End of the lease by the clock of the machine. */
  readonly until: number;
  /** Another process waits. */
  readonly wanted: boolean;
}

const NOBODY = '-';
const UNUSED: State = { turn: 0n, owner: NOBODY, until: 0, wanted: false };
const TOKENS_PER_TURN = 1_000;
const LONGEST_PAUSE_MS = 50;

const nameOf = ({ turn, owner, until, wanted }: State): string =>
  `${turn} ${owner} ${until} ${wanted ? 'wanted' : '-'}`;

function stateOf(name: string): State {
  const [turn, owner, until, wanted] = name.split(' ') as [string, string, string, string];
  return { turn: BigInt(turn), owner, until: Number(until), wanted: wanted === 'wanted' };
}

const isClosed = ({ until }: State): boolean => until > Date.now();
const isHeldBy = (owner: string, state: State): boolean => isClosed(state) && state.owner === owner;
const freed = ({ turn }: State): State => ({ ...UNUSED, turn });
const endOf = (leaseTimeMs: number): number => Date.now() + Math.ceil(leaseTimeMs);

function tokensOf({ turn }: State): TokenBlock {
  return { first: turn * BigInt(TOKENS_PER_TURN), size: TOKENS_PER_TURN };
}

/** Leases in the names of files. */
export class FileBackend implements TurnBackend {
  readonly traits: StoreTraits = {
    name: 'file',
    ownership: 'lease',
    fencing: 'per-key',
    fair: 'process',
    wakes: 'poll',
    reach: 'server',
    offers: [],
    keeps: 'server',
    showsHolders: 'owner-and-token',
    forceRelease: 'hold',
  };
  #namespace = '';
  /** The last command of each key: they are executed in the order in which they were given. */
  readonly #last = new Map<LockKey, Promise<unknown>>();

  constructor(private readonly directory: string) {}

  async open(namespace: string): Promise<void> {
    this.#namespace = namespace;
    await mkdir(this.directory, { recursive: true }).catch((error: Error) =>
      unavailable(null, error),
    );
  }

  async take({ key, owner, leaseTimeMs, wait, attempt }: TakeRequest): Promise<Granted | Busy> {
    const { now } = await this.#change(key, (was) => {
      if (isHeldBy(owner, was)) return was; // asked again: the same turn
      if (isClosed(was)) return wait && !was.wanted ? { ...was, wanted: true } : was;
      return { turn: was.turn + 1n, owner, until: endOf(leaseTimeMs), wanted: false };
    });
    if (now.owner === owner) return { granted: true, tokens: tokensOf(now) };
    // At random, so that processes do not look in step.
    const pauseMs = 1 + Math.random() * Math.min(5 * 2 ** Math.min(attempt, 10), LONGEST_PAUSE_MS);
    const retryInMs = Math.min(pauseMs, Math.max(now.until - Date.now(), 0) + 1);
    return { granted: false, retryInMs, since: null, holder: now.owner };
  }

  async pass({ key, owner, leaseTimeMs }: HeldTurn): Promise<PassAnswer> {
    const { now, changed } = await this.#change(key, (was) => {
      if (!isHeldBy(owner, was)) return was;
      if (was.wanted) return freed(was);
      const until = Math.max(was.until, endOf(leaseTimeMs));
      return { turn: was.turn + 1n, owner, until, wanted: false };
    });
    if (!changed) return { outcome: 'lost' };
    if (now.owner === owner) return { outcome: 'continues', tokens: tokensOf(now) };
    // Longer than anybody's pause: the one that waits has looked by then.
    return { outcome: 'passed', retryInMs: LONGEST_PAUSE_MS + 10, since: null };
  }

  renew(turns: readonly HeldTurn[]): Promise<readonly boolean[]> {
    const renewals = turns.map(async ({ key, owner, leaseTimeMs }) => {
      const { changed } = await this.#change(key, (was) => {
        if (!isHeldBy(owner, was)) return was;
        return { ...was, until: Math.max(was.until, endOf(leaseTimeMs)) };
      });
      return changed;
    });
    return Promise.all(renewals);
  }

  async giveBack({ key, owner }: TurnRef, _more: boolean): Promise<GiveBackAnswer> {
    const { changed } = await this.#change(key, (was) => (isHeldBy(owner, was) ? freed(was) : was));
    return { held: changed, woke: false };
  }

  async keep({ key, owner }: TurnRef, keepForMs: number): Promise<boolean> {
    const { changed } = await this.#change(key, (was) =>
      isHeldBy(owner, was) ? { ...was, owner: NOBODY, until: endOf(keepForMs) } : was,
    );
    return changed;
  }

  async stateOf(key: LockKey): Promise<KeyState> {
    const { now } = await this.#change(key, (was) => was);
    const leftMs = Math.max(now.until - Date.now(), 0);
    const isHeld = leftMs > 0 && now.owner !== NOBODY;
    const keptForMs = leftMs > 0 && !isHeld ? leftMs : null;
    const { first: fencingToken } = tokensOf(now);
    const holder = {
      owner: now.owner,
      mode: 'exclusive',
      fencingToken,
      leaseLeftMs: leftMs,
    } as const;
    return { holders: isHeld ? [holder] : [], waiters: null, keptForMs };
  }

  async forceRelease(key: LockKey): Promise<readonly TurnRef[]> {
    let ended: readonly TurnRef[] = [];
    await this.#change(key, (was) => {
      const isHeld = isClosed(was) && was.owner !== NOBODY;
      ended = isHeld ? [{ key, owner: was.owner }] : [];
      return isClosed(was) ? freed(was) : was;
    });
    return ended;
  }

  async close(): Promise<void> {}

  /** Reads the state of a key and replaces it; begins again if another process has replaced it in between. */
  #change(key: LockKey, next: (was: State) => State): Promise<Change> {
    const id = createHash('sha256').update(`${this.#namespace}\0${key}`).digest('hex');
    const directory = join(this.directory, id);
    return this.#inOrder(key, async () => {
      for (;;) {
        const was = await this.#read(directory);
        const now = next(was);
        if (now === was) return { now, changed: false };
        if (await this.replace(directory, nameOf(was), nameOf(now))) return { now, changed: true };
      }
    });
  }

  async #read(directory: string): Promise<State> {
    for (;;) {
      const names = await unless('ENOENT', readdir(directory));
      // None or two: it is being renamed at this moment.
      if (names?.length === 1) return stateOf(names[0]!);
      if (!names) await this.#create(directory);
    }
  }

  /** @returns `false` if that was no longer the state: of all who rename a file, one succeeds. */
  protected async replace(directory: string, was: string, now: string): Promise<boolean> {
    const renamed = rename(join(directory, was), join(directory, now)).then(() => true);
    return (await unless('ENOENT', renamed)) ?? false;
  }

  /** With the first state in it, or not at all. */
  async #create(directory: string): Promise<void> {
    const made = await mkdtemp(join(this.directory, 'new-'));
    await writeFile(join(made, nameOf(UNUSED)), '');
    await unless('ENOTEMPTY', rename(made, directory)); // another process has made it
    await rm(made, { recursive: true, force: true });
  }

  #inOrder<T>(key: LockKey, command: () => Promise<T>): Promise<T> {
    const answer = (this.#last.get(key) ?? Promise.resolve()).then(command);
    const settled = answer
      .catch(() => undefined) // its caller has the error
      .then(() => {
        if (this.#last.get(key) === settled) this.#last.delete(key);
      });
    this.#last.set(key, settled);
    return answer.catch((error: Error) => unavailable(key, error));
  }
}

/** `changed`: whether `next` had anything to change. */
interface Change {
  readonly now: State;
  readonly changed: boolean;
}

/** @returns `undefined` where the command failed with this code. */
function unless<T>(code: string, command: Promise<T>): Promise<T | undefined> {
  return command.catch((error: NodeJS.ErrnoException) => {
    if (error.code === code) return undefined;
    throw error;
  });
}

function unavailable(key: LockKey | null, cause: Error): never {
  throw new LockStoreUnavailableError('file', key, cause.message, { cause });
}
