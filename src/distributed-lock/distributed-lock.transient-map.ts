/** So few deletions are not worth a copy. */
const FEWEST_DELETED = 256;

/**
 * A map whose entries come and go, for what is under way.
 *
 * A `Map` of V8 takes a new table each time its table is full, deleted entries included, and the old table keeps its entries and a reference to the new
 * one (for iterators: `OrderedHashTable::Rehash` in V8's `src/objects/ordered-hash-table.cc`). Once a table of that chain has survived two small
 * collections, all that come after it survive too, with whatever was in them when they were replaced, until a full collection: with 256 locks in flight,
 * a third of all garbage. Here the map is copied after as many deletions as it has entries, which ends the chain.
 *
 * Entries are in the order in which they were added. After a copy an iterator goes on over what there was: it
 * misses what is added, and meets what has been deleted since.
 */
export class TransientMap<Key, Value> {
  #entries = new Map<Key, Value>();
  #deleted = 0;

  get size(): number {
    return this.#entries.size;
  }

  get(key: Key): Value | undefined {
    return this.#entries.get(key);
  }

  has(key: Key): boolean {
    return this.#entries.has(key);
  }

  set(key: Key, value: Value): void {
    this.#entries.set(key, value);
  }

  /** @returns whether it was there. */
  delete(key: Key): boolean {
    if (!this.#entries.delete(key)) return false;
    this.#deleted += 1;
    if (this.#deleted > FEWEST_DELETED && this.#deleted > this.#entries.size) {
      this.#replaceWith(new Map(this.#entries));
    }
    return true;
  }

  clear(): void {
    this.#replaceWith(new Map());
  }

  keys(): MapIterator<Key> {
    return this.#entries.keys();
  }

  values(): MapIterator<Value> {
    return this.#entries.values();
  }

  [Symbol.iterator](): MapIterator<[Key, Value]> {
    return this.#entries[Symbol.iterator]();
  }

  #replaceWith(entries: Map<Key, Value>): void {
    this.#entries = entries;
    this.#deleted = 0;
  }
}
