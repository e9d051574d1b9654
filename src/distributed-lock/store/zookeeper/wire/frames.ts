const LENGTH_BYTES = 4;
/** A list of a hundred thousand names has six megabytes; more than this is not ZooKeeper that answers. */
const LONGEST_FRAME = 64 * 1024 * 1024;

/** Cuts a stream of bytes into frames. */
export class FrameSplitter {
  #pieces: Buffer[] = [];
  #length = 0;
  /** Bytes of the frame under way, its length included; not known before the first four. */
  #wanted = LENGTH_BYTES;

  /**
   * @returns the frames that these bytes complete, without their lengths.
   * @throws {RangeError} for a length that no frame has.
   */
  push(bytes: Buffer): readonly Buffer[] {
    this.#pieces.push(bytes);
    this.#length += bytes.length;
    if (this.#length < this.#wanted) return [];
    const all = this.#pieces.length === 1 ? bytes : Buffer.concat(this.#pieces, this.#length);
    const frames: Buffer[] = [];
    let at = 0;
    for (;;) {
      const left = all.length - at;
      this.#wanted = LENGTH_BYTES + (left < LENGTH_BYTES ? 0 : frameLength(all, at));
      if (left < this.#wanted) break;
      frames.push(all.subarray(at + LENGTH_BYTES, at + this.#wanted));
      at += this.#wanted;
    }
    this.#pieces = at < all.length ? [all.subarray(at)] : [];
    this.#length = all.length - at;
    return frames;
  }
}

function frameLength(bytes: Buffer, at: number): number {
  const length = bytes.readInt32BE(at);
  if (length >= 0 && length <= LONGEST_FRAME) return length;
  throw new RangeError(`A frame of ${length} bytes: this is not a ZooKeeper client port`);
}
