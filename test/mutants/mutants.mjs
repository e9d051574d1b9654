/**
 * Small changes of the library, each of which breaks a promise, with the spec that must notice.
 *
 * @typedef {object} Mutant
 * @property {string} what   the promise that is broken, in words
 * @property {string} file   below `src/distributed-lock/`
 * @property {string} find   occurs exactly once in the file
 * @property {string} replace
 * @property {string} spec   the spec that fails; `e2e-spec` needs a Redis
 */

import { FENCE_MUTANTS } from '../fence/mutants.mjs';
import { INTEROP_MUTANTS } from '../interop/mutants.mjs';

const WAITING = 'test/protocol/waiting.spec.ts';
const TURNS = 'test/protocol/turns.spec.ts';
const EXPLORATION = 'test/protocol/exploration.spec.ts';
const OFFERS = 'test/protocol/offers.spec.ts';
const OFFER_SCRIPTS = 'test/protocol/redis-offers.e2e-spec.ts';
const SCRIPTS = 'test/protocol/redis-scripts.e2e-spec.ts';
const STORE = 'test/protocol/redis-store.e2e-spec.ts';
const OPERATOR_SCRIPTS = 'test/protocol/operator-scripts.e2e-spec.ts';
const HOLD = 'test/lock/lock-hold.spec.ts';
const RENEWAL = 'test/lock/lease-renewal.spec.ts';
const RE_ENTRY = 'test/lock/re-entry.spec.ts';
const QUEUE = 'store/key-queue.ts';
const REDLOCK = 'test/stores/redlock.e2e-spec.ts';
const SESSION_LINE = 'test/stores/postgres.wake.e2e-spec.ts';
const LUA = 'store/redis/scripts/';

/** @type {readonly Mutant[]} */
export const MUTANTS = [
  ...FENCE_MUTANTS,
  ...INTEROP_MUTANTS,
  {
    what: 'an owner id is used again after a give-back carried it',
    file: 'store/standing.ts',
    find: 'this.#owner = null;\n    this.#traces = false;',
    replace: 'this.#traces = false;',
    spec: EXPLORATION,
  },
  {
    what: 'a grant that arrives after its deadline is used',
    file: QUEUE,
    find: 'if (turn.isOverAt(at)) return this.#drop(turn);',
    replace: '',
    spec: TURNS,
  },
  {
    what: 'a wake-up that overtakes the busy answer is forgotten',
    file: QUEUE,
    find: "else if (this.#phase.is('asking')) this.#standing.wake(offer);",
    replace: '',
    spec: EXPLORATION,
  },
  {
    what: 'a caller that joined a try is not queued',
    file: QUEUE,
    find: 'else if (this.#standing.woken || !queued) this.#goFor',
    replace: 'else if (this.#standing.woken) this.#goFor',
    spec: EXPLORATION,
  },
  {
    what: 'the last waiter leaves without a word',
    file: QUEUE,
    find: "if (this.#waiters.size === 0 && this.#phase.is('waiting')) this.#withdraw();",
    replace:
      "if (this.#waiters.size === 0 && this.#phase.is('waiting')) this.#phase.enter('idle');",
    spec: WAITING,
  },
  {
    what: 'a process that is overtaken loses its place',
    file: 'store/standing.ts',
    find: 'since: this.#since, attempt',
    replace: 'since: null, attempt',
    spec: WAITING,
  },
  {
    what: 'a turn that ended badly leaves its waiters asleep',
    file: QUEUE,
    find: 'if (this.#waiters.size > 0) return this.#ask();',
    replace: 'if (this.#waiters.size > 0) return this.#phase.wait(5_000, () => this.#ask());',
    spec: TURNS,
  },
  {
    what: 'a turn whose pass failed is not given back',
    file: QUEUE,
    find: 'this.#unknown(turn, error);\n        throw error;',
    replace: 'this.#standing.forgetOwner();\n        this.#failed(error);\n        throw error;',
    spec: TURNS,
  },
  {
    what: 'a key held by a dead owner id of this process is not healed',
    file: 'store/standing.ts',
    find: 'if (!this.host.isDead(holder)) return null;',
    replace: 'return null;',
    spec: TURNS,
  },
  {
    what: 'an offer counts from when its message came',
    file: 'store/standing.ts',
    find: 'queued.latest.first ? queued.sentAt : null;',
    replace: 'queued.latest.first ? Infinity : null;',
    spec: EXPLORATION,
  },
  {
    what: 'an offer is begun however old it may be',
    file: 'store/standing.ts',
    find: 'return queued && offer.tokens.first > queued.latest.first ? queued.sentAt : null;',
    replace: 'return queued && queued.sentAt;',
    spec: EXPLORATION,
  },
  {
    what: 'an offer is not confirmed',
    file: 'store/key-queue.ts',
    find: 'confirmOffer(this, turn, offer, this.#waiters.size > 0);',
    replace: '',
    spec: EXPLORATION,
  },
  {
    what: 'an offer is confirmed again behind its give-back',
    file: 'store/offer-confirmation.ts',
    find: 'if (queue.grant?.turn !== turn) return turn.settle();',
    replace: '',
    spec: OFFERS,
  },
  {
    what: 'a hold goes on although its offer was over',
    file: 'store/offer-confirmation.ts',
    find: "queue.lose(grant, 'taken-over');",
    replace: '',
    spec: OFFERS,
  },
  {
    what: 'a turn is begun twice, and its tokens are given twice',
    file: 'store/standing.ts',
    find: 'if (offered && !this.host.begun.has(holder)) {',
    replace: 'if (offered) {',
    spec: OFFERS,
  },
  {
    what: 'an old command of a process ends the turn that it was offered',
    file: `${LUA}acquire.lua`,
    find: "if current and current ~= 'r:' .. process then",
    replace: "if current and current ~= 'r:' .. process and not is_offered(current) then",
    spec: OFFER_SCRIPTS,
  },
  {
    what: 'a renewal finds an offer that was begun gone',
    file: `${LUA}renew.lua`,
    find: "if current == 'r:' .. owner_of(value) then",
    replace: 'if false then',
    spec: OFFER_SCRIPTS,
  },
  {
    what: 'a dead process in a Cluster is offered a turn',
    file: `${LUA}wake.lua`,
    find: "if offer == '0' or counted == '0' or",
    replace: "if offer == '0' or",
    spec: OFFER_SCRIPTS,
  },
  {
    what: 'a broken store is reported as busy',
    file: QUEUE,
    find: 'return lastError ?? (',
    replace: 'return (',
    spec: WAITING,
  },
  {
    what: 'a wake-up that nobody here needs is swallowed',
    file: 'store/queueing.lock-store.ts',
    find: "void this.giveBack(key, offer?.owner ?? '');",
    replace: '',
    spec: WAITING,
  },
  {
    what: 'closing leaves what a call under way brings',
    file: 'store/queueing.lock-store.ts',
    find: 'await Promise.all([...this.#queues.values()].map((queue) => queue.settled()));',
    replace: '',
    spec: TURNS,
  },
  {
    what: 'an abandoned key is healed',
    file: 'store/queueing.lock-store.ts',
    find: 'return !this.#abandoned.has(holder);',
    replace: 'return true;',
    spec: TURNS,
  },
  {
    what: 'the deadline counts from the answer',
    file: 'store/turn.ts',
    find: 'this.#deadline = sentAt + usableLease(leaseTimeMs);\n    this.#tokens',
    replace: 'this.#deadline = now() + usableLease(leaseTimeMs);\n    this.#tokens',
    spec: EXPLORATION,
  },
  {
    what: 'two callers of a turn have the same token',
    file: 'store/turn.ts',
    find: 'this.tokens.first + BigInt(this.nth);',
    replace: 'this.tokens.first;',
    spec: EXPLORATION,
  },
  {
    what: 'a turn is not bounded by the tokens it has',
    file: 'store/turn.ts',
    find: 'Math.min(maxGrants, this.#tokens.size)',
    replace: 'maxGrants',
    spec: TURNS,
  },
  {
    what: 'a give-back that failed is not repeated',
    file: 'store/untold-releases.ts',
    find: 'untold.timer = setTimeout(() => void this.#try(untold), pause);',
    replace: 'untold.timer = setTimeout(() => undefined, pause);',
    spec: EXPLORATION,
  },
  {
    what: 'the clock is not read: only a timer ends a hold',
    file: 'lock/lock-hold.ts',
    find: 'if (at < this.deadline) return true;',
    replace: 'return true;',
    spec: HOLD,
  },
  {
    what: 'a hold is lost more than once',
    file: 'lock/lock-hold.ts',
    find: "if (this.#state !== 'held') return;\n    this.#state = 'lost';",
    replace: "this.#state = 'lost';",
    spec: HOLD,
  },
  {
    what: 'deadlines trust the monotonic clock alone',
    file: 'distributed-lock.clock.ts',
    find: 'skewMs += ahead - aheadMs;',
    replace: '',
    spec: HOLD,
  },
  {
    what: 'a lease is renewed when it is nearly over',
    file: 'lock/lease-renewal.ts',
    find: 'hold.leaseTimeMs / 3 : Infinity',
    replace: 'hold.leaseTimeMs * 0.99 : Infinity',
    spec: RENEWAL,
  },
  {
    what: 'a failed renewal ends the hold',
    file: 'lock/lease-renewal.ts',
    find: '// Nothing is known: the holds go on until their deadlines.',
    replace: "for (const hold of due) hold.lose('expired');",
    spec: RENEWAL,
  },
  {
    what: 'nested calls of one holder run at the same time',
    file: 'lock/entry-queue.ts',
    find: 'return this.isIdle || (together && this.#together);',
    replace: 'return true;',
    spec: RE_ENTRY,
  },
  {
    what: 'the hold of another module is joined',
    file: 'lock/current-hold.ts',
    find: 'scope.manager === manager ? scope.hold.part(key) : undefined',
    replace: 'scope.hold.part(key)',
    spec: RE_ENTRY,
  },
  {
    what: 'keys that were acquired are kept when one cannot be had',
    file: 'lock/lock-manager.ts',
    find: 'await Promise.all(parts.toReversed().map((part) => part.end()));',
    replace: '',
    spec: 'test/lock/several-keys.spec.ts',
  },
  {
    what: 'a repeated acquire shortens the lease',
    file: `${LUA}acquire.lua`,
    find: "if left < tonumber(lease) then redis.call('PEXPIRE', lock, lease) end",
    replace: "redis.call('PEXPIRE', lock, lease)",
    spec: SCRIPTS,
  },
  {
    what: 'a busy key is an error when memory is full',
    file: `${LUA}acquire.lua`,
    find: "local queued = redis.pcall('ZADD',",
    replace: "local queued = redis.call('ZADD',",
    spec: STORE,
  },
  {
    what: 'a renewal compares the owner only',
    file: `${LUA}renew.lua`,
    find: 'elseif current ~= value then',
    replace: "elseif owner_of(current or '') ~= owner_of(value) then",
    spec: SCRIPTS,
  },
  {
    what: 'a pass ends the turn for dead processes',
    file: `${LUA}wake.lua`,
    find: "if heard > 0 or counted == '0' then",
    replace: 'if true then',
    spec: SCRIPTS,
  },
  {
    what: 'nothing is reserved for a process that has waited for long',
    file: `${LUA}wake.lua`,
    find: 'elseif waited >= tonumber(patience) then',
    replace: 'elseif false then',
    spec: SCRIPTS,
  },
  {
    what: 'an uncontended release overlooks those who wait',
    file: `${LUA}batch.lua`,
    find: "and redis.call('PTTL', KEYS[2 * n + 1]) == -2 then",
    replace: 'then',
    spec: SCRIPTS,
  },
  {
    what: 'an uncontended release frees the key of another owner',
    file: `${LUA}batch.lua`,
    find: "type(current) == 'string' and string.sub(current, 18) == owner",
    replace: "type(current) == 'string'",
    spec: SCRIPTS,
  },
  {
    what: 'a call waits for the release although it was told not to',
    file: 'distributed-lock.executor.ts',
    find: 'if (call.times.awaitRelease !== false) await ended;',
    replace: 'await ended;',
    spec: 'test/executor/executor.spec.ts',
  },
  {
    what: 'the fence key is kept for ever',
    file: `${LUA}batch.lua`,
    find: "redis.call('SET', fence, last, 'PX', '86400000')",
    replace: "redis.call('SET', fence, last)",
    spec: SCRIPTS,
  },
  {
    what: 'turn numbers start again when the data is lost',
    file: `${LUA}batch.lua`,
    find: "turn = now[1] .. string.sub('00000', #now[2]) .. now[2]",
    replace: "turn, seen = '0', '0'",
    spec: STORE,
  },
  {
    what: 'a release that finds no key wakes nobody',
    file: `${LUA}release.lua`,
    find: 'return wake(lock, waiting) and { held } or held',
    replace: 'return current and wake(lock, waiting) and { held } or held',
    spec: SCRIPTS,
  },
  {
    what: 'a release of a key that somebody else has leaves a place behind',
    file: `${LUA}release.lua`,
    find: "not more and process ~= '' and redis.call('ZREM', waiting, process) == 1",
    replace: 'false',
    spec: SCRIPTS,
  },
  {
    what: 'a redlock server is not told of a release that it missed',
    file: 'store/redlock/redlock.node.ts',
    find: 'this.#repeatNow();\n      this.listener.usable();',
    replace: 'this.listener.usable();',
    spec: REDLOCK,
  },
  {
    what: 'redlock votes that come too late count',
    file: 'store/redlock/redlock.backend.ts',
    find: 'this.#mustBeWorthwhile(mine, sentAt);',
    replace: '',
    spec: REDLOCK,
  },
  {
    what: 'one redlock vote more than half is not needed',
    file: 'store/redlock/redlock.quorum.ts',
    find: 'Math.floor(connections.length / 2) + 1',
    replace: 'Math.max(1, Math.floor(connections.length / 2))',
    spec: REDLOCK,
  },
  {
    what: 'redlock says "busy" before a majority has answered',
    file: 'store/redlock/redlock.backend.ts',
    find: 'return answers.size >= majority ? false : undefined;',
    replace: 'return false;',
    spec: REDLOCK,
  },
  {
    what: 'a redlock server that lost its data stays without the key',
    file: 'store/redlock/redlock.backend.ts',
    find: 'if (outcomes[index]) this.#repair(lease, answers, index);',
    replace: '',
    spec: REDLOCK,
  },
  {
    what: 'one server votes twice in redlock',
    file: 'store/redlock/redlock.quorum.ts',
    find: 'if (twin) {',
    replace: 'if (twin && false) {',
    spec: REDLOCK,
  },
  {
    what: 'a redlock owner id is used for two attempts',
    file: 'store/redlock/redlock.attempts.ts',
    find: 'id: `${owner}#${this.#serial}`,',
    replace: 'id: `${owner}#1`,',
    spec: REDLOCK,
  },
  {
    what: 'receivers are counted in a Cluster',
    file: 'store/redis/redis.backend.ts',
    find: 'const counted = flag(!this.#link.isCluster);',
    replace: 'const counted = flag(true);',
    spec: 'test/stores/redis-cluster.e2e-spec.ts',
  },
  {
    what: 'a lock that too few replicas have is granted',
    file: 'store/redis/redis.backend.ts',
    find: 'if (have >= wanted) return;',
    replace: 'if (have >= 0) return;',
    spec: 'test/stores/redis-replicas.e2e-spec.ts',
  },
  {
    what: 'an evicted process is woken by its own eviction',
    file: `${LUA}evict.lua`,
    find: "  redis.call('ZREM', line.waiting, process)\n",
    replace: '',
    spec: OPERATOR_SCRIPTS,
  },
  {
    what: 'the process of an evicted holder is not told',
    file: 'store/redis/redis.backend.ts',
    find: 'listener.evicted(evicted);',
    replace: '',
    spec: 'test/nest/operations.e2e-spec.ts',
  },
  {
    what: 'a message about an eviction is believed',
    file: 'store/operator.ts',
    find: 'if (grant) await store.renew([{ grant, leaseTimeMs: LOOK_MS }]).catch(() => undefined);',
    replace: "grant?.onLost?.('taken-over');",
    spec: 'test/protocol/eviction.spec.ts',
  },
  {
    what: 'a message about another turn evicts the holder',
    file: 'store/queueing.lock-store.ts',
    find: 'grant?.turn.owner === owner ? grant : null',
    replace: 'grant ?? null',
    spec: 'test/protocol/eviction.spec.ts',
  },
  {
    what: 'a key is not kept closed when the server is out of memory',
    file: `${LUA}keep.lua`,
    find: "if redis.pcall('SET', KEYS[1], 'k:', 'PX', ARGV[2]).err then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end",
    replace: "redis.call('SET', KEYS[1], 'k:', 'PX', ARGV[2])",
    spec: 'test/fault/out-of-memory.e2e-spec.ts',
  },
  {
    what: 'shared holds are not renewed when the server is out of memory',
    file: `${LUA}stay.lua`,
    find: "redis.call('PEXPIRE', line.held, lease)",
    replace: '',
    spec: 'test/fault/out-of-memory.e2e-spec.ts',
  },
  {
    what: 'nobody tells the next one in the line when the claim of a frozen one is over',
    file: `${LUA}line.lua`,
    find: 'if not enters and (not line.called or tell_when_to_look(line, head)) then break end',
    replace: 'if not enters then break end',
    spec: 'test/protocol/line-scripts.e2e-spec.ts',
  },
  {
    what: 'a dead one in the line is told when the claim of a frozen one is over, in place of the next that lives',
    file: `${LUA}line.lua`,
    find: 'return call(line.inbox, head, line.claim, line.message) > 0 or not line.counted',
    replace: 'return call(line.inbox, head, line.claim, line.message) >= 0',
    spec: 'test/protocol/line-scripts.e2e-spec.ts',
  },
  {
    what: 'a turn is in the line of its session only when it has been answered',
    file: 'store/session.backend.ts',
    find: `    const outcomes = await session
      .run((link) => link.take(rows))`,
    replace: `    for (const { id, key } of joined) holds.line.leave(id.lock, turnOf(key));
    const outcomes = await session
      .run((link) => link.take(rows))
      .then((answers) => {
        for (const { id, key } of joined) holds.line.join(id.lock, turnOf(key));
        return answers;
      })`,
    spec: SESSION_LINE,
  },
  {
    what: 'a turn whose statement failed stays in the line of its session',
    file: 'store/session.backend.ts',
    find: 'for (const { id, key } of joined) holds.line.leave(id.lock, turnOf(key));',
    replace: '',
    spec: SESSION_LINE,
  },
  {
    what: 'a caller that wants to share is in the line of its session only when it has been answered',
    file: 'store/session.line.ts',
    find: `    const outcomes = await session
      .run((link) => link.share(rows))`,
    replace: `    for (const { lock, place } of joined) holds.line.leave(lock, waitingAt(place));
    const outcomes = await session
      .run((link) => link.share(rows))
      .then((answers) => {
        for (const { lock, place } of joined) holds.line.join(lock, waitingAt(place));
        return answers;
      })`,
    spec: SESSION_LINE,
  },
  {
    what: 'a caller that wants to share and whose statement failed stays in the line of its session',
    file: 'store/session.line.ts',
    find: 'for (const { lock, place } of joined) holds.line.leave(lock, waitingAt(place));',
    replace: '',
    spec: SESSION_LINE,
  },
];
