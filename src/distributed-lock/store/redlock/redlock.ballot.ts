import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../distributed-lock.errors.js';
import type { LockKey } from '../../key/lock-key.js';
import type { RedlockNode } from './redlock.node.js';

export interface Failure {
  readonly node: RedlockNode;
  readonly error: LockStoreUnavailableError | LockConfigurationError;
}

/** What the nodes have said so far. */
export interface Tally<Answer> {
  readonly answers: ReadonlyMap<RedlockNode, Answer>;
  /** Nodes that did not answer, or not in time. */
  readonly failures: readonly Failure[];
  readonly pending: number;
}

/**
 * Asks all nodes at the same time and resolves as soon as the answers decide; the others go on.
 *
 * @param ask settles in bounded time, and rejects with an error of the lock.
 * @param decide is asked after every answer; `undefined` waits for more. It must decide once none is pending.
 */
export function ballot<Answer, Decision>(
  nodes: readonly RedlockNode[],
  ask: (node: RedlockNode) => Promise<Answer>,
  decide: (tally: Tally<Answer>) => Decision | undefined,
): Promise<Decision> {
  const answers = new Map<RedlockNode, Answer>();
  const failures: Failure[] = [];
  return new Promise((resolve, reject) => {
    const count = (): void => {
      try {
        const pending = nodes.length - answers.size - failures.length;
        const decision = decide({ answers, failures, pending });
        if (decision !== undefined) resolve(decision);
        else if (pending === 0) reject(new Error('A ballot ended undecided.'));
      } catch (error) {
        reject(error);
      }
    };
    for (const node of nodes) {
      ask(node).then(
        (answer) => {
          answers.set(node, answer);
          count();
        },
        (error: Failure['error']) => {
          failures.push({ node, error });
          count();
        },
      );
    }
  });
}

/** No majority can answer. A wrong set-up is named as such: no retry mends it. */
export function noMajority(
  key: LockKey | null,
  failures: readonly Failure[],
  count: number,
): LockStoreUnavailableError | LockConfigurationError {
  const wrong = failures.find(({ error }) => error instanceof LockConfigurationError);
  if (wrong) return wrong.error;
  const each = failures.map(({ node, error }) => `${node.name}: ${detailOf(error)}`);
  const detail = `no majority: ${failures.length} of ${count} nodes did not answer (${each.join('; ')})`;
  return new LockStoreUnavailableError('redlock', key, detail, {
    cause: new AggregateError(failures.map(({ error }) => error)),
  });
}

function detailOf(error: Failure['error']): string {
  return error instanceof LockStoreUnavailableError ? error.detail : error.message;
}
