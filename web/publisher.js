/**
 * Our streams, and what the host has of them: docs/rtsmp.md, sections 5 and 6.
 * @module
 */

import { encode } from "./cbor.js";
import { nowUs } from "./clock.js";
import { Log, Newest } from "./log.js";
import { Queue } from "./queue.js";
import { MAX_FRAME_BYTES, MAX_STREAMS, isName, write } from "./rtsmp.js";

/**
 * @import { ClockSync } from "./clock.js"
 * @import { Announcement, Bytes, Control, Mode } from "./shapes.js"
 */

/** Answers that wait for the link. A host that asks for more without taking them gets none. */
const MAX_ANSWERS = 4 * MAX_STREAMS;
/** Streams are numbered in 16 bits, from 1 on. */
const MAX_NUMBER = 0xffff;
const MAX_DEADLINE_US = 0xffff_ffff;

/** @typedef {{ announcement: Announcement, body: Log | Newest, tag: number }} Outgoing tag: of the host's subscription */

/**
 * A stream of ours. What a reliable one has is kept until the host has taken it, also while the host has not subscribed
 * yet, and while the link is lost.
 * @template [T=any]
 */
export class Publication {
  #publisher;
  #stream;
  #format;
  #body;

  /**
   * @param {Publisher} publisher
   * @param {number} stream
   * @param {Outgoing} outgoing
   */
  constructor(publisher, stream, { announcement, body }) {
    this.#publisher = publisher;
    this.#stream = stream;
    this.#format = announcement.format;
    this.#body = body;
  }

  /**
   * Done when the item has found a place, which may take as long as the host takes; of a real-time stream at once.
   * @param {T} item
   * @throws {Error} if the stream is withdrawn, or the room over, before
   */
  async push(item) {
    const payload = this.#format === "cbor" ? encode(item) : item;
    if (!(payload instanceof Uint8Array)) throw new TypeError("this stream takes bytes");
    // Who has it may go on to change it.
    await this.pushBytes(payload === item ? payload.slice() : payload);
  }

  /** What is coded already. @param {Uint8Array} payload */
  async pushBytes(payload) {
    if (payload.length > MAX_FRAME_BYTES) throw new RangeError(`an item of more than ${MAX_FRAME_BYTES} bytes`);
    const placed = this.#body.push(payload, this.#publisher.clock);
    this.#publisher.stir();
    await placed;
  }

  /** Who has subscribed: the host, or nobody. */
  get subscribers() {
    return this.#body.isSubscribed ? 1 : 0;
  }

  /** Items of a real-time stream that were too late, or overtaken by newer ones, before they were sent. */
  get dropped() {
    return this.#body.dropped;
  }

  /** The stream is not there any more. What the host has not got is lost. */
  withdraw() {
    this.#publisher.withdraw(this.#stream, this.#body);
  }
}

/** All of them. */
export class Publisher {
  /** Another for each stream: numbers are used again. */
  #run = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  /** @type {Map<number, Outgoing>} */
  #streams = new Map();
  #newest = 0;
  /** The streams that the host knows of over this link; those that are not there any more; and new ones. @type {Set<number>} */
  #told = new Set();
  /** @type {Set<number>} */
  #gone = new Set();
  /** @type {Set<number>} */
  #unsettled = new Set();
  #owesAllTold = false;
  /** @type {Queue<Bytes>} */
  #answers = new Queue();
  /** Whose turn it was, of the reliable and of the others. */
  #turns = [0, 0];
  /** The host's; null while there is no link. @type {ClockSync | null} */
  clock = null;
  /** What was wrong, once the room is over. @type {Error | null} */
  #over = null;
  /** Called when there is something to send. */
  stir;

  /** @param {() => void} stir */
  constructor(stir) {
    this.stir = stir;
  }

  /**
   * @param {number} kind
   * @param {string} name
   * @param {Mode} mode
   * @param {string} format
   * @returns {Publication<any>}
   */
  publish(kind, name, mode, format) {
    if (this.#over) throw this.#over;
    const isTaken = [...this.#streams.values()].some(({ announcement: a }) => a.kind === kind && a.name === name);
    if (!isName(name) || !isName(format) || isTaken) throw new RangeError(`no stream can be called so: ${name}, ${format}`);
    const deadlineUs = mode === "reliable" ? 0 : Math.round(mode.realTime * 1000);
    if (!(deadlineUs >= 0 && deadlineUs <= MAX_DEADLINE_US)) throw new RangeError("no deadline can be so long");
    if (this.#streams.size >= MAX_STREAMS) throw new RangeError("too many streams");
    do this.#newest = (this.#newest % MAX_NUMBER) + 1;
    while (this.#streams.has(this.#newest));
    this.#run = (this.#run + 1) >>> 0;
    const announcement = { run: this.#run, kind, mode, name, format, of: null };
    const outgoing = { announcement, body: mode === "reliable" ? new Log() : new Newest(deadlineUs), tag: 0 };
    this.#streams.set(this.#newest, outgoing);
    if (this.clock) this.#unsettled.add(this.#newest);
    this.stir();
    return new Publication(this, this.#newest, outgoing);
  }

  /** @param {number} stream @param {Log | Newest} body */
  withdraw(stream, body) {
    // Its number may be another's by now.
    if (this.#streams.get(stream)?.body !== body) return;
    body.end(new Error("the stream was withdrawn"));
    this.#streams.delete(stream);
    this.#unsettled.delete(stream);
    if (this.#told.delete(stream)) this.#gone.add(stream);
    this.stir();
  }

  /** @param {ClockSync} clock the host's, over a new link */
  join(clock) {
    this.clock = clock;
    this.#unsettled = new Set(this.#streams.keys());
    this.#owesAllTold = true;
  }

  lost() {
    this.clock = null;
    this.#answers = new Queue();
    for (const set of [this.#told, this.#gone, this.#unsettled]) set.clear();
    this.#owesAllTold = false;
    for (const { body } of this.#streams.values()) body.lost();
  }

  /** The room is over. @param {Error} error */
  end(error) {
    this.lost();
    this.#over = error;
    for (const { body } of this.#streams.values()) body.end(error);
  }

  /** Whether the link takes less than the host asks for. */
  get isFull() {
    return this.#answers.length > MAX_ANSWERS;
  }

  /** @param {Control} message */
  #answer(message) {
    if (!this.clock) return;
    this.#answers.push(write(message));
    this.stir();
  }

  /**
   * Takes what the host says as a subscriber.
   * @param {Control} message
   */
  receive(message) {
    const { stream } = message;
    const outgoing = this.#streams.get(stream);
    const body = outgoing?.body;
    if (message.type === "subscribe") {
      const { tag } = message;
      if (outgoing) outgoing.tag = tag;
      const next = body ? body.subscribe(message.number, message.window) : "refused";
      if (typeof next === "number") this.#answer({ type: "began", stream, number: next, snapshot: 0, tag });
      else this.#answer({ type: "ended", stream, reason: next, tag });
    }
    if (message.type === "unsubscribe") body?.unsubscribe();
    if (message.type === "consumed" && body?.consumed(message.number, message.window) === false) {
      body.unsubscribe();
      this.#answer({ type: "ended", stream, reason: "protocol", tag: outgoing?.tag ?? 0 });
    }
    this.stir();
  }

  /** The next message for the channel on which everything arrives. @returns {Bytes | null} */
  poll() {
    return this.#settle() ?? this.#answers.shift() ?? this.#step(0, (body) => body instanceof Log);
  }

  /** The next message about which streams there are. However many come and go meanwhile, there are few. */
  #settle() {
    // A stream may have the name of one that is gone.
    for (const stream of this.#gone) {
      this.#gone.delete(stream);
      return write({ type: "withdraw", stream });
    }
    for (const stream of this.#unsettled) {
      this.#unsettled.delete(stream);
      const announcement = this.#streams.get(stream)?.announcement;
      if (!announcement) continue;
      this.#told.add(stream);
      return write({ type: "announce", stream, announcement });
    }
    if (!this.#owesAllTold) return null;
    this.#owesAllTold = false;
    return write({ type: "all_told", stream: 0 });
  }

  /** The next message for the other. @returns {Bytes | null} */
  pollLive() {
    return this.#step(1, (body) => body instanceof Newest);
  }

  /**
   * Streams take turns.
   * @param {0 | 1} lane
   * @param {(body: Log | Newest) => boolean} isIt
   * @returns {Bytes | null}
   */
  #step(lane, isIt) {
    const all = [...this.#streams].filter(([, { body }]) => isIt(body));
    const turn = this.#turns[lane] ?? 0;
    const inTurn = [...all.filter(([stream]) => stream > turn), ...all.filter(([stream]) => stream <= turn)];
    for (const [stream, { body }] of inTurn) {
      const message = body.step(stream, this.clock, nowUs());
      if (!message) continue;
      this.#turns[lane] = stream;
      return message;
    }
    return null;
  }
}
