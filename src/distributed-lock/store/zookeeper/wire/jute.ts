/**
 * Writes values in the encoding of ZooKeeper's protocol ("jute"): big-endian, texts and buffers with their length in front
 * (`-1` for none), lists with their count in front.
 */
export class JuteWriter {
  #bytes = Buffer.allocUnsafe(256);
  #length = 0;

  int(value: number): this {
    this.#length = this.#room(4).writeInt32BE(value, this.#length);
    return this;
  }

  long(value: bigint): this {
    this.#length = this.#room(8).writeBigInt64BE(value, this.#length);
    return this;
  }

  bool(value: boolean): this {
    this.#length = this.#room(1).writeUInt8(value ? 1 : 0, this.#length);
    return this;
  }

  buffer(value: Uint8Array): this {
    this.int(value.length);
    this.#room(value.length).set(value, this.#length);
    this.#length += value.length;
    return this;
  }

  text(value: string): this {
    return this.buffer(Buffer.from(value, 'utf8'));
  }

  list<T>(values: readonly T[], write: (value: T) => void): this {
    this.int(values.length);
    for (const value of values) write(value);
    return this;
  }

  /** @returns what was written, with its length in front: a frame. */
  frame(): Buffer {
    const frame = Buffer.allocUnsafe(4 + this.#length);
    frame.writeInt32BE(this.#length);
    this.#bytes.copy(frame, 4, 0, this.#length);
    return frame;
  }

  #room(size: number): Buffer {
    if (this.#length + size > this.#bytes.length) {
      const larger = Buffer.allocUnsafe((this.#bytes.length + size) * 2);
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    return this.#bytes;
  }
}

/** Reads what {@link JuteWriter} writes. @throws {RangeError} when the bytes end too early. */
export class JuteReader {
  #at = 0;

  constructor(private readonly bytes: Buffer) {}

  int(): number {
    const value = this.bytes.readInt32BE(this.#at);
    this.#at += 4;
    return value;
  }

  long(): bigint {
    const value = this.bytes.readBigInt64BE(this.#at);
    this.#at += 8;
    return value;
  }

  /** A copy: the bytes it was read from belong to the socket. */
  buffer(): Buffer {
    const length = this.int();
    if (length <= 0) return Buffer.alloc(0);
    const end = this.#at + length;
    if (end > this.bytes.length) throw new RangeError('The frame ends inside a buffer');
    const value = Buffer.from(this.bytes.subarray(this.#at, end));
    this.#at = end;
    return value;
  }

  text(): string {
    return this.buffer().toString('utf8');
  }

  list<T>(read: () => T): T[] {
    const count = this.int();
    const values: T[] = [];
    for (let n = 0; n < count; n += 1) values.push(read());
    return values;
  }

  skip(size: number): void {
    this.#at += size;
  }
}
