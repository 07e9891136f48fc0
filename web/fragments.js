/**
 * Frames put together from their fragments: docs/rtsmp.md, section 3.
 * @module
 */

/** @import { Fragment, Frame } from "./shapes.js" */

/** Frames of a real-time stream that are put together at the same time. */
const LOOSE_FRAMES = 4;

/** The publisher broke the protocol. */
export class Broken extends Error {}

/**
 * @param {Fragment} first
 * @param {Uint8Array} payload
 * @returns {Frame}
 */
function frameOf({ flags, number, capturedUs }, payload) {
  return { flags, number, capturedUs, payload };
}

/**
 * For fragments that come in order: those of a reliable stream. Holds one frame at most, and of that what has come.
 */
export class InOrder {
  #due;
  /** @type {Fragment[]} */
  #parts = [];
  #held = 0;

  /** @param {number} due the number of the first frame */
  constructor(due) {
    this.#due = due;
  }

  /** The number of the frame that is not whole yet. */
  get due() {
    return this.#due;
  }

  /** Bytes held of a frame that is not whole yet. */
  get held() {
    return this.#held;
  }

  /**
   * Takes the next fragment; answers a frame if it was its last.
   * @param {Fragment} fragment
   * @returns {Frame | null}
   * @throws {Broken} the stream is of no use any more
   */
  push(fragment) {
    const { number, offset, data, total } = fragment;
    if (number !== this.#due) throw new Broken(`frame ${number} came where ${this.#due} was due`);
    if (offset !== this.#held) throw new Broken(`byte ${offset} of a frame came where ${this.#held} was due`);
    const first = this.#parts[0] ?? fragment;
    if (first.kind !== fragment.kind || first.flags !== fragment.flags || first.total !== total) {
      throw new Broken("the fragments of a frame contradict each other");
    }
    this.#parts.push(fragment);
    this.#held += data.length;
    if (this.#held < total) return null;
    const payload = this.#parts.length === 1 ? data : join(this.#parts, total);
    [this.#parts, this.#held] = [[], 0];
    this.#due += 1;
    return frameOf(first, payload);
  }
}

/**
 * @param {Fragment[]} parts
 * @param {number} total
 */
function join(parts, total) {
  const payload = new Uint8Array(total);
  for (const { offset, data } of parts) payload.set(data, offset);
  return payload;
}

/** A frame of which fragments come in any order. */
class Parts {
  /** In the order of their offsets. @type {Fragment[]} */
  #parts = [];
  bytes = 0;

  /** @param {Fragment} fragment */
  constructor({ number, total }) {
    this.number = number;
    this.total = total;
  }

  /**
   * Whether it is new; one that comes twice changes nothing.
   * @param {Fragment} fragment
   * @throws {Broken} if it contradicts the others
   */
  add(fragment) {
    const { offset, total, data } = fragment;
    const at = this.#place(offset);
    const [before, after] = [this.#parts[at - 1], this.#parts[at]];
    if (after?.offset === offset && after.data.length === data.length && total === this.total) return false;
    const overlaps = (before && before.offset + before.data.length > offset) || (after && offset + data.length > after.offset);
    if (total !== this.total || overlaps) throw new Broken("the fragments of a frame contradict each other");
    this.#parts.splice(at, 0, fragment);
    this.bytes += data.length;
    return true;
  }

  /** How many begin before this offset. @param {number} offset */
  #place(offset) {
    let [low, high] = [0, this.#parts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#parts[middle]?.offset ?? 0) < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** They do not overlap and fill the frame, so they are all there. @returns {Frame | null} */
  join() {
    const [first] = this.#parts;
    return first ? frameOf(first, join(this.#parts, this.total)) : null;
  }
}

/**
 * For fragments that overtake each other, or get lost: those of a real-time stream. A frame is given out once, and never
 * after a newer one. At most four frames are under way, and at most `window` bytes of them.
 */
export class Loose {
  #window;
  #newest;
  /** @type {Parts[]} */
  #frames = [];
  #void = 0;

  /**
   * @param {number} window
   * @param {number} [newest] the newest frame that was given out before
   */
  constructor(window, newest = 0) {
    this.#window = window;
    this.#newest = newest;
  }

  /** The newest frame that was given out; 0 before the first. */
  get newest() {
    return this.#newest;
  }

  /** Bytes held of frames that are not whole yet. */
  get held() {
    return this.#frames.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Frames that were given up since their fragments made no sense, or were too many. */
  get void() {
    return this.#void;
  }

  /**
   * Takes a fragment; answers a frame if it was the last that was missing.
   * @param {Fragment} fragment
   * @returns {Frame | null}
   */
  push(fragment) {
    const { number, total, data } = fragment;
    if (number <= this.#newest) return null;
    if (data.length === total) return this.#give(frameOf(fragment, data));
    let parts = this.#frames.find((frame) => frame.number === number);
    if (!parts) this.#frames.push((parts = new Parts(fragment)));
    try {
      if (!parts.add(fragment)) return null;
    } catch {
      this.#giveUp(parts);
      return null;
    }
    if (parts.bytes === parts.total) return this.#give(parts.join());
    while (this.#frames.length > LOOSE_FRAMES || this.held > this.#window) {
      this.#giveUp(this.#frames.reduce((oldest, frame) => (frame.number < oldest.number ? frame : oldest)));
    }
    return null;
  }

  /** @param {Parts} parts */
  #giveUp(parts) {
    this.#frames = this.#frames.filter((frame) => frame !== parts);
    this.#void += 1;
  }

  /** Older ones have no use any more. @param {Frame | null} frame */
  #give(frame) {
    if (!frame) return null;
    this.#newest = frame.number;
    this.#frames = this.#frames.filter(({ number }) => number > frame.number);
    return frame;
  }
}
