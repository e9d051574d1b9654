/** Counts timers that have neither fired nor been cleared, those included that do not keep the process alive. */
const live = new Set();
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
  live.add(timer);
  return timer;
};
globalThis.setInterval = (...args) => {
  const timer = repeat(...args);
  live.add(timer);
  return timer;
};
globalThis.clearTimeout = globalThis.clearInterval = (timer) => {
  live.delete(timer);
  // One function clears both kinds.
  stop(timer);
};

export const liveTimers = () => live.size;
