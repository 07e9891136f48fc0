/**
 * Items of a stream, on their way to the program that takes them.
 * @module
 */

import { decode } from "./cbor.js";
import { nowUs } from "./clock.js";
import { Queue } from "./queue.js";

/** @import { Counts, EndReason } from "./shapes.js" */

/** Items of a real-time stream that wait for the program. */
const MAX_WAITING = 16;

/** Why a stream gives no more, though the room goes on. */
export class StreamEnded extends Error {
  /** @param {EndReason} reason */
  constructor(reason) {
    super(`the stream ended: ${reason}`);
    this.reason = reason;
  }
}

/**
 * An item that waits.
 * @typedef {object} Waiting
 * @property {Uint8Array} payload
 * @property {string} format
 * @property {number} untilUs on our clock
 * @property {() => void} taken
 */

/** Whether it has a deadline. @param {Waiting} item */
function isHasty(item) {
  return item.untilUs !== Infinity;
}

/**
 * Whoever waits for an item.
 * @typedef {object} Taker
 * @property {(result: IteratorResult<any, void>) => void} resolve
 * @property {(error: Error) => void} reject
 */

/** What has come and was not taken. */
export class Inbox {
  /** @type {Queue<Waiting>} */
  #waiting = new Queue();
  /** How many of them have a deadline. */
  #hasty = 0;
  /** @type {Queue<Taker>} */
  #takers = new Queue();
  /** @type {StreamEnded | null} */
  #failure = null;
  #isOver = false;
  /** @type {Counts} */
  counts = { received: 0, lost: 0, late: 0, dropped: 0 };

  /** @param {Waiting} item */
  add(item) {
    if (this.#isOver) return;
    this.counts.received += 1;
    this.#waiting.push(item);
    this.#hasty += isHasty(item) ? 1 : 0;
    if (this.#hasty > MAX_WAITING) {
      this.#waiting.remove(isHasty);
      this.#hasty -= 1;
      this.counts.dropped += 1;
    }
    this.#serve();
  }

  /** @returns {Promise<IteratorResult<any, void>>} */
  take() {
    return new Promise((resolve, reject) => {
      this.#takers.push({ resolve, reject });
      this.#serve();
    });
  }

  /**
   * Nothing more comes; what has come can still be taken.
   * @param {StreamEnded | null} failure
   */
  end(failure) {
    if (this.#isOver) return;
    [this.#isOver, this.#failure] = [true, failure];
    this.#serve();
  }

  /** Nor is that wanted which has come. */
  clear() {
    [this.#waiting, this.#hasty] = [new Queue(), 0];
    this.end(null);
  }

  #serve() {
    while (this.#takers.length > 0) {
      const item = this.#next();
      if (!item && !this.#isOver) return;
      const taker = this.#takers.shift();
      if (item) this.#give(item, taker);
      else if (this.#failure) taker?.reject(this.#failure);
      else taker?.resolve({ done: true, value: undefined });
      if (!item) this.#failure = null;
    }
  }

  /** The next item that is not too late. */
  #next() {
    for (;;) {
      const item = this.#waiting.shift();
      this.#hasty -= item && isHasty(item) ? 1 : 0;
      if (!item || nowUs() <= item.untilUs) return item;
      this.counts.late += 1;
    }
  }

  /**
   * @param {Waiting} item
   * @param {Taker | undefined} taker
   */
  #give({ payload, format, taken }, taker) {
    taken();
    try {
      // Bytes come in a buffer of their own.
      taker?.resolve({ done: false, value: format === "cbor" ? decode(payload) : payload.slice() });
    } catch (error) {
      taker?.reject(error instanceof Error ? error : new Error(String(error)));
    }
  }
}

/**
 * A stream of the host's. It outlives lost links, and comes again when the host announces it again; it is done when the
 * room ends, or after `stop`. An item counts as taken when an iteration gets it, and whoever takes too long holds a
 * reliable stream up.
 *
 * An item that is no CBOR though the stream says so, and {@link StreamEnded}, make an iteration throw.
 * @template [T=any]
 * @implements {AsyncIterableIterator<T>}
 */
export class VectorStream {
  #inbox;
  #stop;

  /**
   * @param {Inbox} inbox
   * @param {() => void} stop
   */
  constructor(inbox, stop) {
    this.#inbox = inbox;
    this.#stop = stop;
  }

  /** @returns {Counts} */
  get counts() {
    return { ...this.#inbox.counts };
  }

  /** @returns {Promise<IteratorResult<T, void>>} */
  next() {
    return this.#inbox.take();
  }

  /** Whoever leaves a loop takes no more. @returns {Promise<IteratorResult<T, void>>} */
  async return() {
    this.stop();
    return { done: true, value: undefined };
  }

  stop() {
    this.#stop();
    this.#inbox.clear();
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}
