import { LockStoreUnavailableError } from '../../../src/distributed-lock/distributed-lock.errors.js';
import type { StoreTraits } from '../../../src/distributed-lock/store/lock-store.js';
import type {
  BackendListener,
  Busy,
  GiveBackAnswer,
  Granted,
  HeldTurn,
  Offer,
  PassAnswer,
  TakeRequest,
  TokenBlock,
  TurnBackend,
  TurnRef,
} from '../../../src/distributed-lock/store/turn-backend.js';
import { KEY, type ModelServer, turnNumber } from './model-server.js';
import type { Chance, VirtualTime } from './virtual-time.js';

export const TRAITS: StoreTraits = {
  name: 'model',
  ownership: 'lease',
  fencing: 'store-wide',
  fair: 'process',
  wakes: 'push',
  reach: 'server',
  offers: [],
  keeps: 'process',
  showsHolders: 'none',
  forceRelease: 'none',
};

export interface Weather {
  /** How long one message is on its way, in milliseconds. */
  readonly delayMs: () => number;
  /** Share of commands that take longer than the command timeout. */
  readonly slow: number;
  /** Share of wake-ups that come long after they were sent: they lay in the buffer of a process that stood still. */
  readonly stale?: number;
}

interface Command {
  readonly execute: () => void;
  readonly fail: (error: Error) => void;
  arrived: boolean;
  /** Its connection broke: it is not executed any more, or its answer does not arrive. */
  lost: boolean;
}

const COMMAND_TIMEOUT_MS = 300;

/**
 * One process's two connections to the model server. Commands keep their order, wake-ups keep theirs; between the two
 * there is none. Counts what is on its way.
 */
export class ModelNetwork {
  /** Commands, answers and wake-ups that have not arrived. */
  onTheirWay = 0;
  crashed = false;
  #listener: Pick<BackendListener, 'woken' | 'ready'> | null = null;
  #subscribed = true;
  #connected = true;
  #lastArrival = 0;
  #lastAnswer = 0;
  #lastMessage = 0;
  #inboxEpoch = 0;
  #closed = false;
  readonly #commands = new Set<Command>();

  constructor(
    readonly process: string,
    private readonly time: VirtualTime,
    private readonly chance: Chance,
    private readonly weather: Weather,
  ) {}

  get isSubscribed(): boolean {
    return this.#subscribed;
  }

  hear(listener: Pick<BackendListener, 'woken' | 'ready'>): void {
    this.#listener = listener;
  }

  /** What was sent is still executed; its callers learn nothing of it. */
  async close(): Promise<void> {
    const unanswered = [...this.#commands];
    this.#closed = true;
    this.#subscribed = false;
    this.#listener = null;
    for (const command of unanswered) command.fail(unavailable('the connection is closed'));
  }

  /** A wake-up. @returns whether somebody listens. */
  wake(offer: Offer | null = null): boolean {
    return this.deliver(() => {
      if (offer) this.seesTurn(offer.tokens);
      this.#listener?.woken(KEY, offer);
    });
  }

  /** A turn of this number has begun, or is offered. */
  protected seesTurn(_tokens: TokenBlock): void {}

  /** A message for this process. @returns whether somebody listens. */
  deliver(tell: () => void): boolean {
    if (!this.#subscribed) return false;
    const epoch = this.#inboxEpoch;
    this.onTheirWay += 1;
    const { stale: share = 0 } = this.weather;
    const stale = share > 0 && this.chance.happens(share) ? this.chance.upTo(900) : 0;
    this.#lastMessage = Math.max(this.#lastMessage, this.time.now + stale + this.#delay());
    this.time.at(this.#lastMessage, () => {
      this.onTheirWay -= 1;
      if (epoch === this.#inboxEpoch && this.#listener) tell();
    });
    return true;
  }

  /** What was sent is still executed; nothing comes back. */
  crash(): void {
    this.crashed = true;
    this.#subscribed = false;
    this.#inboxEpoch += 1;
    this.#listener = null;
  }

  /**
   * The command connection breaks: answers are lost, and so is what has not reached the server. With late copies, every
   * command of the broken connection is executed (again) when the next one is already in use.
   */
  cut(lateCopies: boolean): void {
    this.#connected = false;
    this.#lastArrival = 0;
    for (const command of this.#commands) {
      if (lateCopies) this.#copyLate(command);
      command.lost = true;
      command.fail(unavailable('the connection was lost'));
    }
    this.time.after(this.chance.upTo(100), () => {
      this.#connected = true;
      this.#listener?.ready();
    });
  }

  /** Wake-ups that are on their way are lost, and so are those until the process has subscribed again. */
  cutInbox(): void {
    this.#subscribed = false;
    this.#inboxEpoch += 1;
    this.time.after(this.chance.upTo(100), () => {
      if (this.crashed || this.#closed) return;
      this.#subscribed = true;
      this.#listener?.ready();
    });
  }

  send<T>(execute: () => T): Promise<T> {
    if (this.crashed) return new Promise(() => undefined);
    if (!this.#connected || this.#closed) return Promise.reject(unavailable('not connected'));
    return new Promise((resolve, reject) => {
      const timeout = this.time.after(COMMAND_TIMEOUT_MS, () =>
        command.fail(unavailable(`no answer within ${COMMAND_TIMEOUT_MS} ms`)),
      );
      const command: Command = {
        execute,
        arrived: false,
        lost: false,
        fail: (error) => {
          this.time.cancel(timeout);
          if (!this.crashed) reject(error);
        },
      };
      this.onTheirWay += 1;
      this.#commands.add(command);
      this.time.at(this.#arrival(), () => {
        if (command.lost) return this.#ended(command);
        command.arrived = true;
        const answer = execute();
        this.#lastAnswer = Math.max(this.#lastAnswer, this.time.now + this.#delay());
        this.time.at(this.#lastAnswer, () => {
          this.#ended(command);
          this.time.cancel(timeout);
          if (!this.crashed && !command.lost) resolve(answer);
        });
      });
    });
  }

  #copyLate(command: Command): void {
    this.onTheirWay += 1;
    this.time.after(this.chance.upTo(200), () => {
      this.onTheirWay -= 1;
      command.execute();
    });
  }

  #ended(command: Command): void {
    this.#commands.delete(command);
    this.onTheirWay -= 1;
  }

  #arrival(): number {
    const slow = this.chance.happens(this.weather.slow) ? this.chance.upTo(900) : 0;
    this.#lastArrival = Math.max(this.#lastArrival, this.time.now + slow + this.#delay());
    return this.#lastArrival;
  }

  #delay(): number {
    return this.weather.delayMs();
  }
}

/** A process that takes turns. */
export class ModelBackend extends ModelNetwork implements TurnBackend {
  readonly traits = TRAITS;
  #seen = 0;

  constructor(
    process: string,
    private readonly server: ModelServer,
    time: VirtualTime,
    chance: Chance,
    weather: Weather,
  ) {
    super(process, time, chance, weather);
  }

  async open(_namespace: string, _timeoutMs: number, listener: BackendListener): Promise<void> {
    this.hear(listener);
  }

  async take(request: TakeRequest): Promise<Granted | Busy> {
    const seen = this.#seen;
    const answer = await this.send(() => this.server.take(request, this.process, seen));
    if (answer.granted) this.#learn(answer.tokens);
    return answer;
  }

  async pass(turn: HeldTurn): Promise<PassAnswer> {
    const seen = this.#seen;
    const answer = await this.send(() => this.server.pass(turn, this.process, seen));
    if (answer.outcome === 'continues') this.#learn(answer.tokens);
    return answer;
  }

  renew(turns: readonly HeldTurn[]): Promise<readonly boolean[]> {
    return this.send(() => turns.map((turn) => this.server.renew(turn)));
  }

  giveBack({ owner }: TurnRef, more: boolean): Promise<GiveBackAnswer> {
    const seen = this.#seen;
    return this.send(() => this.server.giveBack(owner, this.process, more, seen));
  }

  protected override seesTurn(tokens: TokenBlock): void {
    this.#learn(tokens);
  }

  #learn(tokens: TokenBlock | null): void {
    this.#seen = Math.max(this.#seen, turnNumber(tokens));
  }
}

const unavailable = (detail: string): Error => new LockStoreUnavailableError('model', KEY, detail);
