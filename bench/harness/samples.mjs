/** Numbers of one turn, without an object per number. */
export class Samples {
  #values = new Float64Array(1 << 14);
  #size = 0;

  push(value) {
    if (this.#size === this.#values.length) {
      const grown = new Float64Array(this.#values.length * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#size] = value;
    this.#size += 1;
  }

  toArray() {
    return this.#values.slice(0, this.#size);
  }
}
