/** Knows the timers that have neither fired nor been cleared, those included that do not keep the process alive. */
const live = new Map();
const { setTimeout: start, clearTimeout: stop, setInterval: repeat } = globalThis;

globalThis.setTimeout = (work, ms, ...args) => {
  const timer = start(
    (...given) => {
      live.delete(timer);
      work(...given);
    },
    ms,
    ...args,
  );
  live.set(timer, new Error(`${ms} ms`));
  return timer;
};
globalThis.setInterval = (work, ms, ...args) => {
  const timer = repeat(work, ms, ...args);
  live.set(timer, new Error(`every ${ms} ms`));
  return timer;
};
globalThis.clearTimeout = globalThis.clearInterval = (timer) => {
  live.delete(timer);
  // One function clears both kinds.
  stop(timer);
};

export const liveTimers = () => live.size;

/** @returns who started each, as stacks. */
export const startedBy = () =>
  [...live.values()].map(({ message, stack }) =>
    [message, ...stack.split('\n').slice(2, 8)].join('\n'),
  );
