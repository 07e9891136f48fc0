/**
 * What is kept of a stream of ours, how far the host is in it, and what it is sent next.
 * @module
 */

import { nowUs } from "./clock.js";
import { Queue } from "./queue.js";
import { FRAGMENT_BYTES, LIVE_FRAGMENT_BYTES, cost, cut } from "./rtsmp.js";

/**
 * @import { ClockSync } from "./clock.js"
 * @import { Bytes, EndReason } from "./shapes.js"
 */

/** What is kept of a reliable stream. */
const CAPACITY = 4 << 20;
/** Frames are numbered in 32 bits. */
const MAX_NUMBER = 0xffff_ffff;

/**
 * A time on the host's clock; null while that is unknown.
 * @param {ClockSync | null} clock
 * @param {number} atUs on ours
 */
function hostUs(clock, atUs) {
  const us = clock?.ageUs(0, atUs) ?? null;
  return us && Math.max(Math.round(us), 0);
}

/**
 * @typedef {{ payload: Uint8Array, capturedUs: number }} Kept
 * @typedef {Kept & { resolve: () => void, reject: (error: Error) => void }} Coming
 */

/**
 * How far the host is.
 * @typedef {object} Cursor
 * @property {number} next the frame that is sent next
 * @property {number} offset from where on
 * @property {number} consumed
 * @property {Queue<number>} sent what each of the frames counts as that are under way and not consumed
 * @property {number} underWay the same of all of them
 * @property {number} window
 */

/** All frames until they are consumed. */
export class Log {
  #first = 1;
  /** @type {Queue<Kept>} */
  #frames = new Queue();
  #bytes = 0;
  /** Those that have no place yet. @type {Queue<Coming>} */
  #waiting = new Queue();
  /** @type {Cursor | null} */
  #cursor = null;
  /** @type {Error | null} */
  #over = null;
  /** None, ever. */
  dropped = 0;

  get isSubscribed() {
    return this.#cursor !== null;
  }

  get #next() {
    return this.#first + this.#frames.length;
  }

  /**
   * @param {Uint8Array} payload
   * @param {ClockSync | null} clock
   * @returns {Promise<void>} done when it has a place
   */
  push(payload, clock) {
    if (this.#over) throw this.#over;
    if (this.#next + this.#waiting.length >= MAX_NUMBER) throw new RangeError("more frames than can be numbered");
    const capturedUs = hostUs(clock, nowUs()) ?? 0;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ payload, capturedUs, resolve, reject });
      this.#admit();
    });
  }

  #admit() {
    for (;;) {
      const item = this.#waiting.at(0);
      // One that is larger than all the place there is may be alone.
      if (!item || (this.#bytes > 0 && this.#bytes + cost(item.payload) > CAPACITY)) return;
      this.#waiting.shift();
      this.#frames.push(item);
      this.#bytes += cost(item.payload);
      item.resolve();
    }
  }

  /** Forgets the frames before this one. @param {number} number */
  #free(number) {
    while (this.#first < number && this.#frames.length > 0) {
      const frame = this.#frames.shift();
      this.#bytes -= frame ? cost(frame.payload) : 0;
      this.#first += 1;
    }
    this.#admit();
  }

  /**
   * Answers the first frame that comes, or why there is none.
   * @param {number} from
   * @param {number} window
   * @returns {number | EndReason}
   */
  subscribe(from, window) {
    this.#cursor = null;
    if (from > this.#next) return "protocol";
    if (from > 0 && from < this.#first) return "gone";
    // Whatever comes next: nobody has taken what is here.
    const next = Math.max(from, this.#first);
    this.#cursor = { next, offset: 0, consumed: next - 1, sent: new Queue(), underWay: 0, window };
    this.#free(next);
    return next;
  }

  /** What is here is not wanted. */
  unsubscribe() {
    this.#cursor = null;
    this.#free(this.#next);
  }

  /** What is here may be wanted again. */
  lost() {
    this.#cursor = null;
  }

  /**
   * Answers false if it cannot be.
   * @param {number} number
   * @param {number} window
   */
  consumed(number, window) {
    const cursor = this.#cursor;
    if (!cursor) return true;
    if (number >= cursor.next) return false;
    // What was consumed before the last beginning counts no more.
    if (number < cursor.consumed) return true;
    for (; cursor.consumed < number; cursor.consumed += 1) cursor.underWay -= cursor.sent.shift() ?? 0;
    cursor.window = window;
    this.#free(number + 1);
    return true;
  }

  /**
   * The next message, if there is one and the host is ready for it.
   * @param {number} stream
   * @returns {Bytes | null}
   */
  step(stream) {
    const cursor = this.#cursor;
    const frame = cursor && this.#frames.at(cursor.next - this.#first);
    if (!cursor || !frame) return null;
    const { payload, capturedUs } = frame;
    if (cursor.offset === 0) {
      const isAlone = cursor.underWay === 0 && cursor.window > 0;
      if (!isAlone && cursor.underWay + cost(payload) > cursor.window) return null;
      cursor.sent.push(cost(payload));
      cursor.underWay += cost(payload);
    }
    const [message, end] = cut({ stream, number: cursor.next, capturedUs }, payload, cursor.offset, FRAGMENT_BYTES);
    cursor.offset = end;
    if (end === payload.length) [cursor.next, cursor.offset] = [cursor.next + 1, 0];
    return message;
  }

  /** @param {Error} error */
  end(error) {
    this.#over = error;
    this.#cursor = null;
    for (let item = this.#waiting.shift(); item; item = this.#waiting.shift()) item.reject(error);
    this.#frames = new Queue();
  }
}

/**
 * @typedef {{ payload: Uint8Array, number: number, madeUs: number }} Made
 * @typedef {Made & { offset: number, capturedUs: number }} Sending
 */

/** The newest frame, while it is not too late. */
export class Newest {
  #deadlineUs;
  /** @type {Made | null} */
  #newest = null;
  #number = 0;
  /** The last frame that was taken to be sent, and the one that is being sent. @type {{ taken: number, sending: Sending | null } | null} */
  #cursor = null;
  /** @type {Error | null} */
  #over = null;
  /** Frames that were too late, or overtaken by a newer one. */
  dropped = 0;

  /** @param {number} deadlineUs */
  constructor(deadlineUs) {
    this.#deadlineUs = deadlineUs;
  }

  get isSubscribed() {
    return this.#cursor !== null;
  }

  /** @param {Uint8Array} payload */
  async push(payload) {
    if (this.#over) throw this.#over;
    if (this.#number >= MAX_NUMBER) throw new RangeError("more frames than can be numbered");
    if (this.#newest && this.#cursor && this.#cursor.taken < this.#number) this.dropped += 1;
    this.#number += 1;
    this.#newest = { payload, number: this.#number, madeUs: nowUs() };
  }

  /** @returns {number | EndReason} */
  subscribe() {
    this.#cursor = { taken: this.#number, sending: null };
    return this.#number + 1;
  }

  unsubscribe() {
    this.#cursor = null;
  }

  lost() {
    this.#cursor = null;
  }

  consumed() {
    return true;
  }

  /**
   * @param {number} stream
   * @param {ClockSync | null} clock
   * @param {number} now
   * @returns {Bytes | null}
   */
  step(stream, clock, now) {
    const cursor = this.#cursor;
    if (!cursor) return null;
    if (cursor.sending && this.#isLate(cursor.sending, now)) cursor.sending = null;
    cursor.sending ??= this.#take(cursor, clock, now);
    if (!cursor.sending) return null;
    const { payload, number, capturedUs, offset } = cursor.sending;
    const [message, end] = cut({ stream, number, capturedUs }, payload, offset, LIVE_FRAGMENT_BYTES);
    cursor.sending.offset = end;
    if (end === payload.length) cursor.sending = null;
    return message;
  }

  /**
   * @param {{ taken: number }} cursor
   * @param {ClockSync | null} clock
   * @param {number} now
   */
  #take(cursor, clock, now) {
    const newest = this.#newest;
    if (!newest || newest.number <= cursor.taken) return null;
    if (this.#isLate(newest, now)) {
      cursor.taken = newest.number;
      return null;
    }
    // The host could not tell how old it is.
    const capturedUs = hostUs(clock, newest.madeUs);
    if (capturedUs === null) return null;
    cursor.taken = newest.number;
    return { ...newest, offset: 0, capturedUs };
  }

  /**
   * @param {Made} frame
   * @param {number} now
   */
  #isLate({ madeUs }, now) {
    const isLate = now > madeUs + this.#deadlineUs;
    this.dropped += isLate ? 1 : 0;
    return isLate;
  }

  /** @param {Error} error */
  end(error) {
    this.#over = error;
    [this.#newest, this.#cursor] = [null, null];
  }
}
