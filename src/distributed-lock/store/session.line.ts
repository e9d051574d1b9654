import type { LockKey } from '../key/lock-key.js';
import type {
  Admitted,
  EnterRequest,
  HeldPlace,
  LineBackend,
  LineListener,
  LinePlace,
  NotYet,
} from './line-backend.js';
import type { Waiting } from './local-line.js';
import type { SessionDesk } from './session-desk.js';
import type { SessionHolds } from './session-holds.js';
import type { GiveBackRow, LockId, ShareRow, SharingLink } from './session-link.js';
import type { SessionPauses } from './session.backend.js';
import type { TurnSession } from './turn-backend.js';

interface Entrant {
  readonly request: EnterRequest;
  readonly resolve: (answer: Admitted | NotYet) => void;
  readonly reject: (error: unknown) => void;
}

/** Callers about one key that ask together. */
interface Share {
  readonly kind: 'share';
  readonly key: LockKey;
  readonly entrants: Entrant[];
  readonly reject: (error: unknown) => void;
}

interface Leave {
  readonly kind: 'leave';
  readonly key: LockKey;
  readonly place: LinePlace;
  readonly resolve: (held: boolean) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Shared holders on a session. The session has the lock once, for all of them; each that comes asks anew whether the gate is open,
 * so that none overtakes a turn that waits in another process. Those who ask at the same time ask once.
 */
export class SessionLine<Link extends SharingLink> implements LineBackend {
  #listener: LineListener | null = null;
  readonly #unsent = new Map<LockKey, Share>();

  constructor(
    private readonly desk: SessionDesk<Link>,
    private readonly pauses: SessionPauses,
  ) {
    desk.listen({
      ready: () => this.#listener?.ready(),
      sessionEnded: (session) => this.#listener?.sessionEnded(session),
      woken: (lock) => {
        for (const place of desk.open?.holds.line.firstSharers(lock) ?? [])
          this.#listener?.called(place, 0);
      },
    });
    desk.serve<Share>('share', (batch) => this.#sendShares(batch));
    desk.serve<Leave>('leave', (batch) => this.#sendLeaves(batch));
  }

  listen(listener: LineListener): void {
    this.#listener = listener;
  }

  enter(request: EnterRequest): Promise<Admitted | NotYet> {
    const { key } = request.place;
    return new Promise((resolve, reject) => {
      const entrant = { request, resolve, reject };
      const unsent = this.#unsent.get(key);
      if (unsent) return void unsent.entrants.push(entrant);
      const entrants = [entrant];
      const share: Share = {
        kind: 'share',
        key,
        entrants,
        reject: (error) => {
          for (const it of entrants) it.reject(error);
        },
      };
      this.#unsent.set(key, share);
      this.desk.push(share);
    });
  }

  /** One statement, however many places: the session carries them all, or none. */
  async renew(held: readonly HeldPlace[]): Promise<readonly boolean[]> {
    const { session, holds } = this.desk.current;
    try {
      await session.confirm();
    } catch (error) {
      throw this.desk.error(error, null);
    }
    return held.map(({ place }) => this.desk.open?.holds === holds && holds.isSharedBy(place));
  }

  leave(place: LinePlace): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const leave: Leave = { kind: 'leave', key: place.key, place, resolve, reject };
      this.desk.push(leave);
    });
  }

  async #sendShares(batch: readonly Share[]): Promise<void> {
    for (const { key } of batch) this.#unsent.delete(key);
    const { session, holds } = this.desk.current;
    const entrants = batch.flatMap((share) => share.entrants);
    const asking = entrants.filter((entrant) => !this.#answeredHere(entrant, session, holds));
    const asked = [...byLock(holds, asking).values()];
    if (asked.length === 0) return;
    const rows = asked.map(({ id, entrants }) => shareRow(holds, id, entrants));
    // In the line before they ask: a wake-up may come before the answer that turns them away.
    const joined = asking
      .filter(({ request }) => request.wait)
      .map(({ request: { place } }) => ({ lock: holds.idOf(place.key).lock, place }))
      .filter(({ lock, place }) => holds.line.join(lock, waitingAt(place)));
    const outcomes = await session
      .run((link) => link.share(rows))
      .catch((error: unknown) => {
        for (const { lock, place } of joined) holds.line.leave(lock, waitingAt(place));
        throw error;
      });
    for (const [index, { id, entrants }] of asked.entries()) {
      const { shares, marked, shareMarked } = outcomes[index]!;
      holds.mark(id, 'wait', marked);
      holds.mark(id, 'share', shareMarked);
      for (const entrant of entrants) {
        if (shares) letIn(entrant, id, session, holds);
        else this.#turnAway(entrant, id, marked, holds);
      }
      // The others go in with them; a turn that waits here closes the gate behind them.
      if (shares) this.desk.wake(id.lock);
    }
  }

  /** Whether the server need not be asked: it is inside, or somebody of this very process is in the way, who wakes it. */
  #answeredHere(entrant: Entrant, session: TurnSession, holds: SessionHolds): boolean {
    const { place } = entrant.request;
    const id = holds.idOf(place.key);
    if (holds.isSharedBy(place)) {
      letIn(entrant, id, session, holds);
      return true;
    }
    const isFree = !holds.holderOf(id) && !holds.line.isBehindOthers(id.lock, waitingAt(place));
    if (isFree) return false;
    this.#turnAway(entrant, id, true, holds);
    return true;
  }

  #turnAway({ request, resolve }: Entrant, id: LockId, marked: boolean, holds: SessionHolds): void {
    const { place, wait, attempt } = request;
    if (wait) holds.line.join(id.lock, waitingAt(place));
    const retryInMs = this.pauses.busy(marked, attempt + 1);
    resolve({ admitted: false, retryInMs, since: null, holder: null });
  }

  async #sendLeaves(batch: readonly Leave[]): Promise<void> {
    const { open } = this.desk;
    if (!open) {
      for (const leave of batch) leave.resolve(false);
      return;
    }
    const { session, holds } = open;
    const groups = new Map<string, { id: LockId; inside: LinePlace[] }>();
    for (const { place } of batch) {
      const id = holds.idOf(place.key);
      const group = groups.get(id.lock) ?? { id, inside: [] };
      groups.set(id.lock, group);
      holds.line.leave(id.lock, waitingAt(place));
      if (holds.isSharedBy(place)) group.inside.push(place);
    }
    const rows = [...groups.values()].map(({ id, inside }) => leaveRow(holds, id, inside.length));
    const needed = rows.filter((row) => row.unlock || row.unmark || row.unmarkShare);
    if (needed.length > 0) await session.run((link) => link.giveBack(needed));
    for (const row of needed) {
      if (row.unmark) holds.mark(row.id, 'wait', false);
      if (row.unmarkShare) holds.mark(row.id, 'share', false);
    }
    for (const { place, resolve } of batch) {
      const held = holds.isSharedBy(place);
      holds.unshare(holds.idOf(place.key), place);
      resolve(held);
    }
    for (const lock of groups.keys()) this.desk.wake(lock);
  }
}

const waitingAt = (place: LinePlace): Waiting => ({ key: place.key, place });

function letIn(
  { request, resolve }: Entrant,
  id: LockId,
  session: TurnSession,
  holds: SessionHolds,
): void {
  holds.share(id, request.place);
  holds.line.leave(id.lock, waitingAt(request.place));
  resolve({ admitted: true, token: null, session });
}

/** Two keys may share one lock: about that the server is asked once. */
function byLock(
  holds: SessionHolds,
  entrants: readonly Entrant[],
): ReadonlyMap<string, { readonly id: LockId; readonly entrants: Entrant[] }> {
  const groups = new Map<string, { id: LockId; entrants: Entrant[] }>();
  for (const entrant of entrants) {
    const id = holds.idOf(entrant.request.place.key);
    const group = groups.get(id.lock);
    if (group) group.entrants.push(entrant);
    else groups.set(id.lock, { id, entrants: [entrant] });
  }
  return groups;
}

function shareRow(holds: SessionHolds, id: LockId, entrants: readonly Entrant[]): ShareRow {
  const owners = new Set(entrants.map(({ request }) => request.place.owner));
  const lastSharer = holds.line.sharers(id.lock).every(({ owner }) => owners.has(owner));
  return {
    id,
    wait: entrants.some(({ request }) => request.wait),
    marked: holds.isMarked(id, 'wait'),
    shareMarked: holds.isMarked(id, 'share'),
    shared: holds.sharing(id) > 0,
    lastSharer,
    last: lastSharer && holds.line.turns(id.lock).length === 0,
  };
}

function leaveRow(holds: SessionHolds, id: LockId, leaving: number): GiveBackRow {
  return {
    id,
    unlock: leaving > 0 && holds.sharing(id) === leaving,
    shared: true,
    unmark: holds.isMarked(id, 'wait') && holds.line.isEmpty(id.lock),
    unmarkShare: holds.isMarked(id, 'share') && holds.line.sharers(id.lock).length === 0,
    openGate: false,
  };
}
