/**
 * Where we are in a reliable stream of the host's, and what it is told of that: docs/rtsmp.md, sections 5.2, 5.3 and 7.
 * @module
 */

import { Broken, InOrder } from "./fragments.js";
import { SNAPSHOT, cost } from "./rtsmp.js";

/** @import { Fragment, Frame } from "./shapes.js" */

/** The largest snapshot of a map that is taken. */
const MAX_SNAPSHOT_BYTES = 64 << 20;

/** Stays over links that are lost. */
export class Reliable {
  #window;
  #isMap;
  /** Null before the host has said where it begins. @type {InOrder | null} */
  #assembly = null;
  /** @type {{ assembly: InOrder, frames: number, bytes: number } | null} */
  #snapshot = null;
  /** What comes until the host has said where this subscription begins is of one before. */
  #isAwaited = true;
  /** What counts as held here: all frames that were not taken, and those of them that the host has forgotten. */
  #held = 0;
  #stale = 0;
  /** Counts beginnings. */
  #epoch = 0;
  #consumed = 0;
  /** What was taken since the host was told. */
  #untold = 0;
  /** Whether the host waits to hear what can be held besides what is held of before. */
  #isOwed = false;

  /**
   * @param {number} window
   * @param {boolean} isMap
   */
  constructor(window, isMap) {
    this.#window = window;
    this.#isMap = isMap;
  }

  /**
   * From which frame on it is to be subscribed, and with which window.
   * @param {boolean} isSame whether the stream is the one that it was before
   */
  subscribe(isSame) {
    // A snapshot that was cut off is of no use, nor is half a frame.
    const due = isSame && !this.#snapshot ? (this.#assembly?.due ?? 0) : 0;
    this.#assembly = due > 0 ? new InOrder(due) : null;
    this.#snapshot = null;
    this.#isAwaited = true;
    this.#turn();
    return { number: due, window: this.#room };
  }

  /** What waits here does not wait at the host any more. */
  #turn() {
    this.#epoch += 1;
    this.#stale = this.#held;
  }

  get #room() {
    return Math.max(this.#window - this.#stale, 0);
  }

  /**
   * The host begins. Answers whether something lies between, or all is new.
   * @param {number} next
   * @param {number} frames of a snapshot that comes first
   */
  began(next, frames) {
    if (next === 0) throw new Broken("frames are numbered from 1 on");
    const goesOn = this.#assembly?.due === next && frames === 0;
    this.#assembly = new InOrder(next);
    this.#snapshot = frames > 0 ? { assembly: new InOrder(1), frames, bytes: 0 } : null;
    this.#isAwaited = false;
    this.#consumed = next - 1;
    this.#isOwed = !goesOn;
    this.#turn();
    return !goesOn;
  }

  /**
   * Takes a fragment; answers a frame if it was its last, and what is to be called when somebody takes it.
   * @param {Fragment} fragment
   * @returns {{ frame: Frame, taken: () => void } | null}
   * @throws {Broken}
   */
  push(fragment) {
    if (!this.#assembly) return null;
    const frame = this.#assembly.push(fragment);
    // A single frame may be larger than the window.
    if (this.#held >= this.#window) throw new Broken("more came than the window allows");
    if (!frame) return null;
    const [epoch, counts] = [this.#epoch, cost(frame.payload)];
    this.#held += counts;
    return { frame, taken: () => this.#taken(frame.number, counts, epoch) };
  }

  /** Whether this is part of a snapshot. @param {Fragment} fragment */
  isSnapshot({ flags }) {
    return this.#isMap && (flags & SNAPSHOT) !== 0;
  }

  /**
   * The same as {@link Reliable.push}.
   * @param {Fragment} fragment
   * @returns {{ frame: Frame, isLast: boolean } | null}
   * @throws {Broken}
   */
  pushSnapshot(fragment) {
    if (this.#isAwaited) return null;
    const snapshot = this.#snapshot;
    if (!snapshot) throw new Broken("a snapshot that was not announced");
    snapshot.bytes += cost(fragment.data);
    if (snapshot.bytes > MAX_SNAPSHOT_BYTES) throw new Broken("a snapshot that is too large");
    const frame = snapshot.assembly.push(fragment);
    const isLast = snapshot.assembly.due > snapshot.frames;
    if (isLast) this.#snapshot = null;
    return frame && { frame, isLast };
  }

  /**
   * @param {number} number
   * @param {number} counts
   * @param {number} epoch
   */
  #taken(number, counts, epoch) {
    this.#held -= counts;
    this.#untold += counts;
    if (epoch === this.#epoch) this.#consumed = number;
    else this.#stale -= counts;
  }

  /** Whether the host is to be told at once. */
  get isPressing() {
    return this.#isOwed || this.#untold >= this.#window / 2;
  }

  /** What the host is to be told, if there is something. */
  tell() {
    if (this.#isAwaited || (this.#untold === 0 && !this.#isOwed)) return null;
    [this.#untold, this.#isOwed] = [0, false];
    return { number: this.#consumed, window: this.#room };
  }
}
