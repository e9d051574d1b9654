/*
 * How PostgreSQL shows an advisory lock whose number has 64 bits: the upper half as `classid`, the lower one as `objid`, and 1 as `objsubid`.
 * https://www.postgresql.org/docs/current/view-pg-locks.html
 */
const isLock = (number: string): string =>
  `l.classid = (${number} >> 32 & 4294967295)::oid AND l.objid = (${number} & 4294967295)::oid`;

const GRANTED = `FROM pg_locks AS l
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())`;

/**
 * Which sessions have a lock, and which others have left a mark that they wait for it. Who has the mark alone is looking at it at this very moment.
 *
 * $1 lock, $2 mark
 *
 * Answers a row for each: `session`, and `what`: 'exclusive', 'shared', 'waits'
 */
export const SESSIONS_OF = `
SELECT l.pid::text AS session,
  CASE WHEN NOT (${isLock('$1::bigint')}) THEN 'waits' WHEN l.mode = 'ShareLock' THEN 'shared' ELSE 'exclusive' END AS what
${GRANTED} AND (${isLock('$1::bigint')}
  OR ${isLock('$2::bigint')} AND l.mode = 'ShareLock' AND l.pid <> pg_backend_pid())`;

/**
 * Ends the other sessions that have a lock. A role may end the sessions of its own; those of others with `pg_signal_backend`.
 *
 * $1 lock
 *
 * Answers a row for each: whether it was told to end. (https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SIGNAL)
 */
export const END_OTHERS = `
SELECT pg_terminate_backend(h.pid)::text AS ended
FROM (SELECT DISTINCT l.pid ${GRANTED} AND l.pid <> pg_backend_pid() AND ${isLock('$1::bigint')}) AS h`;
