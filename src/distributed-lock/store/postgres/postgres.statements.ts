/*
 * Each lock has a second one, its *mark*: a session that waits for the lock shares the mark. So "does anybody else wait?" is one
 * question, `pg_try_advisory_lock(mark)`: it succeeds when no other session shares it (one's own share does not count).
 *
 * No wake-up is lost: who leaves its mark tries the lock once more after it, who frees the lock looks at the mark after it.
 *
 * CASE is the one construct whose evaluation order PostgreSQL promises:
 * https://www.postgresql.org/docs/current/sql-expressions.html#SYNTAX-EXPRESS-EVAL
 */

/**
 * Takes locks.
 *
 * $1 locks, $2 marks, $3 per row: leave a mark if busy, $4 the token sequence
 *
 * Answers per row, in order
 *   'n'      taken; n is the number of the turn
 *   '+n'     taken at the second try: the mark stands
 *   'busy'   another session has it; no mark was asked for
 *   '+'      another session has it; the mark stands
 *   'again'  somebody looked at the mark at this very moment, and no mark could be left
 */
export const TAKE = `
SELECT CASE
    WHEN pg_try_advisory_lock(t.lock) THEN nextval($4::regclass)::text
    WHEN NOT t.mark THEN 'busy'
    WHEN NOT pg_try_advisory_lock_shared(t.wait) THEN 'again'
    WHEN pg_try_advisory_lock(t.lock) THEN '+' || nextval($4::regclass)::text
    ELSE '+'
  END AS outcome
FROM unnest($1::bigint[], $2::bigint[], $3::boolean[]) AS t(lock, wait, mark)`;

/** Undoes a TAKE that failed half way: an error rolls back neither locks nor marks. $1 locks, $2 marks, $3 marks to be taken away. */
export const UNDO_TAKE = `
SELECT pg_advisory_unlock(t.lock), CASE WHEN t.mark THEN pg_advisory_unlock_shared(t.wait) END
FROM unnest($1::bigint[], $2::bigint[], $3::boolean[]) AS t(lock, wait, mark)`;

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
 * Frees locks and wakes those who wait for them; takes marks away.
 *
 * $1 locks, $2 marks, $3 per row: free the lock, $4 per row: take the mark away, $5 channel or NULL
 *
 * Answers per row: 'free' nobody waited; 'woke'; 'gone' was not this session's; NULL nothing was to be freed
 *
 * A notification is a commit record; that it be flushed to disk helps nobody, hence synchronous_commit.
 */
export const GIVE_BACK = `
SELECT CASE
    WHEN NOT t.unlock THEN NULL
    WHEN NOT pg_advisory_unlock(t.lock) THEN 'gone'
    WHEN pg_try_advisory_lock(t.wait)
    THEN CASE WHEN pg_advisory_unlock(t.wait) THEN 'free' END
    WHEN $5::text IS NULL THEN 'woke'
    WHEN set_config('synchronous_commit', 'off', true) IS NOT NULL
    THEN 'woke' || pg_notify($5, t.lock::text)::text
  END AS outcome,
  CASE WHEN t.unmark THEN pg_advisory_unlock_shared(t.wait) END AS unmarked
FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::boolean[]) AS t(lock, wait, unlock, unmark)`;

/** What the server is. All as text, whatever type parsers the application has set. */
export const INSPECT = `
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
