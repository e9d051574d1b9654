/*
 * Each lock has three more beside it, under numbers that are made of its own:
 *
 * - the *mark*: a session that waits for the lock shares the mark. So "does anybody else wait?" is one question,
 *   `pg_try_advisory_lock(mark)`: it succeeds when no other session shares it (one's own share does not count).
 * - the *gate*: who comes to share the lock passes it, sharing it for the moment; a session that waits to have the lock alone keeps it closed.
 * - the *share mark*: shared by sessions in which some wait to share. Who comes after them to have the lock alone leaves the gate open.
 *
 * No wake-up is lost: who leaves its mark tries the lock once more after it; who frees the lock, or opens the gate, looks at the mark after it.
 *
 * The gate and the share mark are pairs of 32 bits, for PostgreSQL another space than numbers of 64: they are never mistaken for a lock.
 *
 * CASE is the one construct whose evaluation order PostgreSQL promises:
 * https://www.postgresql.org/docs/current/sql-expressions.html#SYNTAX-EXPRESS-EVAL
 */

/** The two halves of a number. */
const halves = (number: string): string => `(${number} >> 32)::int, (${number} << 32 >> 32)::int`;

const GATE = halves('t.lock');
const SHARE_MARK = halves('t.wait');

/** Where the session shares the lock itself, the server would let it in. */
const TRY = 'CASE WHEN t.shared THEN false ELSE pg_try_advisory_lock(t.lock) END';
const DRAW = `CASE WHEN CASE WHEN t.gated THEN pg_advisory_unlock(${GATE}) ELSE true END THEN nextval($7::regclass)::text END`;

/**
 * Takes locks.
 *
 * $1 locks, $2 marks, then per row: $3 wait, $4 the mark stands, $5 this session shares the lock, $6 it keeps the gate; $7 the token sequence;
 * $8 per row: leave the gate to those who have waited to share
 *
 * Answers per row, in order
 *   'n'      taken; n is the number of the turn. The gate, if it was kept, is open
 *   '+n'     taken at the second try: the mark stands
 *   'busy'   another session has it; no mark was asked for
 *   '+'      another session has it; the mark stands. '+g': and the gate is kept; '+a': somebody passed the gate at this very moment
 *   'again'  somebody looked at the mark at this very moment, and no mark could be left
 */
export const TAKE = `
SELECT CASE
    WHEN ${TRY} THEN ${DRAW}
    WHEN NOT t.waits THEN 'busy'
    WHEN CASE WHEN t.marked THEN false ELSE NOT pg_try_advisory_lock_shared(t.wait) END THEN 'again'
    WHEN CASE WHEN t.marked THEN false ELSE ${TRY} END THEN '+' || ${DRAW}
    WHEN t.gated THEN '+g'
    WHEN CASE WHEN t.polite
      THEN CASE WHEN pg_try_advisory_lock(${SHARE_MARK}) THEN NOT pg_advisory_unlock(${SHARE_MARK}) ELSE true END
      ELSE false END
    THEN '+'
    WHEN pg_try_advisory_lock(${GATE}) THEN '+g'
    WHEN pg_try_advisory_lock_shared(${GATE})
    THEN CASE WHEN pg_advisory_unlock_shared(${GATE}) THEN '+a' END
    ELSE '+'
  END AS outcome
FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::boolean[], $5::boolean[], $6::boolean[], $8::boolean[])
  AS t(lock, wait, waits, marked, shared, gated, polite)`;

/**
 * Undoes a TAKE that failed half way: an error rolls back neither locks nor marks.
 *
 * $1 locks, $2 marks, per row: $3 the lock may have been taken, $4 so may the mark
 */
export const UNDO_TAKE = `
SELECT CASE WHEN t.taken THEN pg_advisory_unlock(t.lock) END,
  CASE WHEN t.mark THEN pg_advisory_unlock_shared(t.wait) END,
  pg_advisory_unlock(${GATE}), pg_advisory_unlock_shared(${GATE}), pg_advisory_unlock(${SHARE_MARK})
FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::boolean[]) AS t(lock, wait, taken, mark)`;

/** Passes the gate, and shares the lock unless the session does. Leaves the gate as it was. */
const ENTER = `CASE
    WHEN NOT pg_try_advisory_lock_shared(${GATE}) THEN false
    WHEN CASE WHEN t.shared THEN true ELSE pg_try_advisory_lock_shared(t.lock) END
    THEN pg_advisory_unlock_shared(${GATE})
    ELSE NOT pg_advisory_unlock_shared(${GATE})
  END`;

/**
 * Shares locks.
 *
 * $1 locks, $2 marks, then per row: $3 wait, $4 the mark stands, $5 the share mark stands, $6 this session shares the lock already; and once
 * these are in: $7 nobody of this session waits, $8 nobody of it waits to share
 *
 * Answers per row, in order
 *   'in'     shared; of the marks those are gone that nobody waits behind
 *   '+in'    the same, at the second try: the others stand
 *   'busy'   another session has the lock alone, or waits for that; no marks were asked for
 *   '+'      the same; both marks stand
 *   '-'      the same; the mark stands, the share mark does not: somebody looked at it at this very moment
 *   'again'  somebody looked at the mark at this very moment: neither stands
 */
export const SHARE = `
SELECT CASE
    WHEN ${ENTER}
    THEN 'in' || CASE WHEN t.last AND t.marked THEN left(pg_advisory_unlock_shared(t.wait)::text, 0) ELSE '' END
      || CASE WHEN t.last_sharer AND t.share_marked THEN left(pg_advisory_unlock_shared(${SHARE_MARK})::text, 0) ELSE '' END
    WHEN NOT t.waits THEN 'busy'
    WHEN CASE WHEN t.marked THEN false ELSE NOT pg_try_advisory_lock_shared(t.wait) END THEN 'again'
    WHEN CASE WHEN t.share_marked THEN false ELSE NOT pg_try_advisory_lock_shared(${SHARE_MARK}) END THEN '-'
    WHEN ${ENTER}
    THEN '+in' || CASE WHEN t.last THEN left(pg_advisory_unlock_shared(t.wait)::text, 0) ELSE '' END
      || CASE WHEN t.last_sharer THEN left(pg_advisory_unlock_shared(${SHARE_MARK})::text, 0) ELSE '' END
    ELSE '+'
  END AS outcome
FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::boolean[], $5::boolean[], $6::boolean[], $7::boolean[], $8::boolean[])
  AS t(lock, wait, waits, marked, share_marked, shared, last, last_sharer)`;

/** Undoes a SHARE that failed half way. $1 locks, $2 marks, per row: $3 the lock, $4 the mark, $5 the share mark may have been shared */
export const UNDO_SHARE = `
SELECT CASE WHEN t.taken THEN pg_advisory_unlock_shared(t.lock) END,
  CASE WHEN t.mark THEN pg_advisory_unlock_shared(t.wait) END,
  CASE WHEN t.share_mark THEN pg_advisory_unlock_shared(${SHARE_MARK}) END,
  pg_advisory_unlock_shared(${GATE})
FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::boolean[], $5::boolean[]) AS t(lock, wait, taken, mark, share_mark)`;

/**
 * Asks whether another session waits for a lock of this one; if so, frees it and wakes them.
 *
 * $1 lock, $2 mark, $3 pass in any case, $4 this session's mark stands already, $5 channel or NULL, $6 the token sequence
 *
 * Answers 'n': the turn goes on under this number; 'passed': freed, this session's mark stands; 'gone': was not this session's;
 * 'again': somebody looked at the mark at this very moment
 */
export const PASS = `
SELECT CASE
    WHEN CASE WHEN $3::boolean THEN false ELSE pg_try_advisory_lock($2::bigint) END
    THEN CASE WHEN pg_advisory_unlock($2::bigint) THEN nextval($6::regclass)::text END
    WHEN CASE WHEN $4::boolean THEN false ELSE NOT pg_try_advisory_lock_shared($2::bigint) END
    THEN 'again'
    WHEN NOT pg_advisory_unlock($1::bigint) THEN 'gone'
    ELSE 'passed' || CASE WHEN $5::text IS NULL THEN '' ELSE pg_notify($5, ($1::bigint)::text)::text END
  END AS outcome`;

/**
 * Frees locks, opens gates, and wakes those who wait for them; takes marks away.
 *
 * $1 locks, $2 marks, then per row: $3 free the lock, $4 take the mark away; $5 channel or NULL; per row: $6 what is freed is a share, $7 take
 * the share mark away, $8 open the gate
 *
 * Answers per row: 'free' nobody waited; 'woke'; 'gone' was not this session's; NULL nothing was to be freed or opened
 *
 * A notification is a commit record; that it be flushed to disk helps nobody, hence synchronous_commit.
 */
export const GIVE_BACK = `
SELECT CASE
    WHEN NOT (t.unlock OR t.open) THEN NULL
    WHEN CASE WHEN t.open THEN pg_advisory_unlock(${GATE}) IS NULL ELSE false END THEN NULL
    WHEN CASE WHEN NOT t.unlock THEN false
      WHEN t.shared THEN NOT pg_advisory_unlock_shared(t.lock) ELSE NOT pg_advisory_unlock(t.lock) END
    THEN 'gone'
    WHEN pg_try_advisory_lock(t.wait)
    THEN CASE WHEN pg_advisory_unlock(t.wait) THEN 'free' END
    WHEN $5::text IS NULL THEN 'woke'
    WHEN set_config('synchronous_commit', 'off', true) IS NOT NULL
    THEN 'woke' || pg_notify($5, t.lock::text)::text
  END AS outcome,
  CASE WHEN t.unmark THEN pg_advisory_unlock_shared(t.wait) END AS unmarked,
  CASE WHEN t.unmark_share THEN pg_advisory_unlock_shared(${SHARE_MARK}) END AS share_unmarked
FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::boolean[], $6::boolean[], $7::boolean[], $8::boolean[])
  AS t(lock, wait, unlock, unmark, shared, unmark_share, open)`;

/** What the server is. All as text, whatever type parsers the application has set. */
export const SHOWS = `
SELECT pg_backend_pid()::text AS pid,
  current_setting('server_version_num') AS version,
  pg_is_in_recovery()::text AS replica,
  current_setting('transaction_read_only') AS read_only`;

/** $1 the sequence as it was given. No row where it does not exist. */
export const FIND_SEQUENCE = `
SELECT c.oid::text AS oid, n.nspname || '.' || c.relname AS name, s.seqcache::text AS cache,
  s.seqincrement::text AS increment, s.seqcycle::text AS cycle, s.seqtypid::regtype::text AS type,
  has_sequence_privilege(c.oid, 'USAGE')::text AS usable
FROM pg_class c JOIN pg_sequence s ON s.seqrelid = c.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass($1)`;

/**
 * A session that is silent for $1 milliseconds is ended by the server; so are, sooner, dead connections that TCP can tell.
 * Nothing else cuts statements short.
 */
export const PREPARE_SESSION = `
SELECT set_config('idle_session_timeout', $1, false), set_config('statement_timeout', '0', false),
  set_config('lock_timeout', '0', false), set_config('tcp_keepalives_idle', '5', false),
  set_config('tcp_keepalives_interval', '2', false), set_config('tcp_keepalives_count', '3', false),
  set_config('synchronous_commit', 'on', false)`;
