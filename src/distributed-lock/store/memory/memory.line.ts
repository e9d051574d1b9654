import type {
  Admitted,
  EnterRequest,
  HeldPlace,
  LineBackend,
  LineListener,
  LinePlace,
  NotYet,
} from '../line-backend.js';
import type { MemoryWorld, Waiting } from './memory.world.js';

/** The line of one store. Whoever is let in is of this process: it holds for its whole lease, and need not confirm in a hurry. */
export class MemoryLine implements LineBackend {
  readonly #waiting = new Map<string, Waiting>();
  #listener: LineListener | null = null;

  constructor(private readonly world: MemoryWorld) {
    world.whenEvicted.add((hold) => queueMicrotask(() => this.#listener?.evicted(hold)));
  }

  listen(listener: LineListener): void {
    this.#listener = listener;
  }

  async enter({ place, leaseTimeMs, wait }: EnterRequest): Promise<Admitted | NotYet> {
    const { key, owner } = place;
    this.world.admit(key, true);
    if (this.world.has(place)) {
      this.world.prolong(place, leaseTimeMs);
    } else if (!this.world.first(key) && this.world.mayEnter(place)) {
      this.world.letIn(place, leaseTimeMs);
    } else {
      if (wait && !this.#waiting.has(owner)) this.#queue(place, leaseTimeMs);
      const retryInMs = this.world.nextEndMs(key) + 1;
      return { admitted: false, retryInMs, since: null, holder: null };
    }
    return { admitted: true, token: this.world.tokenOf(place) };
  }

  async renew(held: readonly HeldPlace[]): Promise<readonly boolean[]> {
    return held.map(({ place, leaseTimeMs }) => {
      if (!this.world.has(place)) return false;
      this.world.prolong(place, leaseTimeMs);
      return true;
    });
  }

  async leave(place: LinePlace): Promise<boolean> {
    const { key, owner } = place;
    const waiting = this.#waiting.get(owner);
    if (waiting) this.world.unqueue(key, waiting);
    this.#waiting.delete(owner);
    const held = this.world.putOut(place);
    this.world.admit(key, true);
    return held;
  }

  #queue(place: LinePlace, leaseTimeMs: number): void {
    const call = (): void => {
      this.#waiting.delete(place.owner);
      queueMicrotask(() => this.#listener?.called(place, 0));
    };
    const waiting = { place, leaseTimeMs, call };
    this.#waiting.set(place.owner, waiting);
    this.world.queue(place.key, waiting);
  }
}
