/** A stretch of time in which a worker believed it was alone, on a clock that all workers share. */
export interface CriticalSection {
  readonly worker: string;
  readonly key: string;
  readonly from: number;
  readonly to: number;
  /** It tolerates others that share. Default `false`. */
  readonly isShared?: boolean;
}

export interface Overlap {
  readonly key: string;
  readonly first: CriticalSection;
  readonly second: CriticalSection;
  readonly forMs: number;
}

/**
 * Looks for two sections of one key at the same time, unless both are shared. Touching is not overlapping.
 *
 * Finds at least one overlap per key that has any: each section is compared with the one that lasts longest so far, a shared one with
 * the one of those that are not.
 */
export function overlaps(sections: readonly CriticalSection[]): readonly Overlap[] {
  const found: Overlap[] = [];
  const [all, alone] = [new Map<string, CriticalSection>(), new Map<string, CriticalSection>()];
  for (const section of sections.toSorted((a, b) => a.from - b.from)) {
    const { key, isShared = false } = section;
    const earlier = (isShared ? alone : all).get(key);
    if (earlier && section.from < earlier.to) {
      const forMs = Math.min(earlier.to, section.to) - section.from;
      found.push({ key, first: earlier, second: section, forMs });
    }
    for (const running of isShared ? [all] : [all, alone]) {
      const longest = running.get(key);
      if (!longest || section.to > longest.to) running.set(key, section);
    }
  }
  return found;
}

/** Something that happened to a worker, on a clock that all workers share. */
export interface HistoryEvent {
  readonly worker: string;
  readonly key: string;
  readonly name: string;
  readonly at: number;
}

/**
 * Pairs `acquired` with the next `released` or `lost` of the same worker and key. A section that never ends lasts
 * for ever: its worker crashed, or still holds the key.
 *
 * Record both marks *inside* the critical section. The lock's own `released` event follows the server's answer, by
 * when the next holder may have been told already: such events overlap although the holds do not.
 */
export function sectionsOf(events: readonly HistoryEvent[]): readonly CriticalSection[] {
  const open = new Map<string, HistoryEvent>();
  const sections: CriticalSection[] = [];
  for (const event of events.toSorted((a, b) => a.at - b.at)) {
    const id = JSON.stringify([event.worker, event.key]);
    if (event.name === 'acquired') open.set(id, event);
    if (event.name !== 'released' && event.name !== 'lost') continue;
    const start = open.get(id);
    if (!start) continue;
    open.delete(id);
    sections.push({ worker: event.worker, key: event.key, from: start.at, to: event.at });
  }
  const unended = [...open.values()].map(({ worker, key, at }) => ({
    worker,
    key,
    from: at,
    to: Infinity,
  }));
  return [...sections, ...unended];
}
