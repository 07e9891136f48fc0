/**
 * Streams of anything with the host: docs/rtsmp.md. The owner says when a link comes and goes, and hands in what arrives;
 * what is subscribed and what is published outlive a link.
 * @module
 */

import { MapStream, Mirror } from "./map.js";
import { Publisher } from "./publisher.js";
import { FRAGMENT_BYTES, KIND, LIVE_FRAGMENT_BYTES, MAX_WINDOW, isName, parse } from "./rtsmp.js";
import { Subscriber } from "./subscriber.js";
import { Inbox, StreamEnded, VectorStream } from "./vector.js";

export { MapStream } from "./map.js";
export { Publication } from "./publisher.js";
export { StreamEnded, VectorStream } from "./vector.js";

/**
 * @import { Publication } from "./publisher.js"
 * @import { Announcement, Bytes, Mode, Stream, Wire } from "./shapes.js"
 */

/** Bytes that the channels may hold: docs/rtsmp.md, section 2. */
const STREAMS_BUFFER = 256 << 10;
const LIVE_BUFFER = 64 << 10;
/** The most that stands in front of a fragment. */
const FRONT_BYTES = 24;
/** Bytes of a stream that may be under way, or wait for the program, unless it says otherwise. */
const WINDOW = 1 << 20;
/** What a client may change at once in a map of the host's. */
const MAX_WRITE_BYTES = 64 << 10;
/** What kinds are called. @type {(string | undefined)[]} */
const KINDS = ["", ...Object.keys(KIND)];

/** @param {Announcement} announcement @returns {Stream} */
function streamOf({ kind, name, mode, format, of }) {
  return { kind: KINDS[kind] || kind, name, mode, format, of };
}

/** Of one room. */
export class Streams {
  #subscriber;
  #publisher;
  /** @type {Wire | null} */
  #wire = null;
  #isStirred = false;
  #isOver = false;
  /** @type {Map<string, MapStream<any, any>>} */
  #maps = new Map();
  /** Clients' wishes for maps. @type {Map<string, Publication<any>>} */
  #writes = new Map();
  /** Messages that made no sense. */
  #senseless = 0;

  /** @param {(type: "announce" | "withdraw", stream: Stream) => void} tell */
  constructor(tell) {
    const stir = () => this.#stir();
    this.#subscriber = new Subscriber((type, announcement) => tell(type, streamOf(announcement)), stir);
    this.#publisher = new Publisher(stir);
  }

  // --- The owner ---

  /** @param {Wire} wire */
  connect(wire) {
    if (this.#isOver) return;
    this.disconnect();
    this.#wire = wire;
    for (const [channel, bytes] of /** @type {const} */ ([[wire.streams, STREAMS_BUFFER], [wire.live, LIVE_BUFFER]])) {
      channel.bufferedAmountLowThreshold = bytes / 2;
      channel.onbufferedamountlow = channel.onopen = () => this.#stir();
    }
    this.#subscriber.join(wire.clock);
    this.#publisher.join(wire.clock);
    this.#stir();
  }

  /** The link is lost. */
  disconnect() {
    if (!this.#wire) return;
    for (const channel of [this.#wire.streams, this.#wire.live]) channel.onbufferedamountlow = channel.onopen = null;
    this.#wire = null;
    this.#subscriber.lost();
    this.#publisher.lost();
  }

  /** The room is over. @param {Error | null} failure */
  end(failure) {
    if (this.#isOver) return;
    this.disconnect();
    this.#isOver = true;
    this.#subscriber.end();
    this.#publisher.end(failure ?? new Error("the room was left"));
  }

  /** Takes a message that has arrived on one of the two channels. @param {ArrayBuffer} data */
  receive(data) {
    if (!this.#wire) return;
    try {
      const message = parse(data);
      if (!message) return;
      const isForUs = message.type === "subscribe" || message.type === "unsubscribe" || message.type === "consumed";
      if (isForUs) this.#publisher.receive(message);
      else this.#subscriber.receive(message);
    } catch (error) {
      console.debug(error);
      this.#senseless += 1;
    }
    if (this.#subscriber.isFull || this.#publisher.isFull) this.disconnect();
  }

  /** Messages that made no sense, and announcements that were too many. */
  get ignored() {
    return this.#senseless + this.#subscriber.ignored;
  }

  // --- The program ---

  /** @returns {Stream[]} */
  list() {
    return this.#subscriber.announced.map(streamOf);
  }

  /**
   * @template [T=any]
   * @param {string} name
   * @param {{ window?: number }} [options]
   * @returns {VectorStream<T>}
   */
  vector(name, { window = WINDOW } = {}) {
    this.#check(name);
    if (this.#subscriber.has(KIND.vector, name)) throw new Error(`somebody takes ${name} already`);
    const inbox = new Inbox();
    const unsubscribe = this.#subscriber.subscribe(KIND.vector, name, Math.min(Math.max(window, 1), MAX_WINDOW), {
      counts: inbox.counts,
      began: () => {},
      snapshot: () => {},
      frame: ({ payload }, format, untilUs, taken) => inbox.add({ payload, format, untilUs, taken }),
      end: (reason) => inbox.end(reason && new StreamEnded(reason)),
    });
    return new VectorStream(inbox, unsubscribe);
  }

  /**
   * The same object for the same name.
   * @template [K=any]
   * @template [V=any]
   * @param {string} name
   * @returns {MapStream<K, V>}
   */
  map(name) {
    const known = this.#maps.get(name);
    if (known) return known;
    this.#check(name);
    const mirror = new Mirror();
    const unsubscribe = this.#subscriber.subscribe(KIND.map, name, WINDOW, {
      counts: { lost: 0, late: 0 },
      began: (frames) => mirror.begin(frames),
      snapshot: ({ payload }, isLast) => mirror.snapshot(payload, isLast),
      frame: ({ payload }, _format, _untilUs, taken) => {
        mirror.change(payload);
        taken();
      },
      end: (reason) => {
        this.#maps.delete(name);
        mirror.tell("end", reason);
      },
    });
    const map = new MapStream(mirror, (change) => this.#write(name, change), () => {
      this.#maps.delete(name);
      unsubscribe();
    });
    this.#maps.set(name, map);
    return map;
  }

  /**
   * @template [T=any]
   * @param {string} name
   * @param {{ mode?: Mode, format?: string }} [options]
   * @returns {Publication<T>}
   */
  publish(name, { mode = "reliable", format = "cbor" } = {}) {
    return this.#publisher.publish(KIND.vector, name, mode, format);
  }

  /** @param {string} name */
  #check(name) {
    if (this.#isOver) throw new Error("the room is over");
    if (!isName(name)) throw new RangeError(`no stream is called ${name}`);
  }

  /**
   * @param {string} name of a map
   * @param {Bytes} change
   */
  async #write(name, change) {
    if (change.length > MAX_WRITE_BYTES) throw new RangeError(`a change of more than ${MAX_WRITE_BYTES} bytes`);
    const writes = this.#writes.get(name) ?? this.#publisher.publish(KIND.writes, name, "reliable", "cbor");
    this.#writes.set(name, writes);
    return writes.pushBytes(change);
  }

  // --- The link ---

  #stir() {
    if (this.#isStirred || !this.#wire) return;
    this.#isStirred = true;
    queueMicrotask(() => {
      this.#isStirred = false;
      this.#send();
    });
  }

  /** What there is to send, as long as there is room for it. */
  #send() {
    if (!this.#wire) return;
    const { streams, live } = this.#wire;
    const next = () => this.#subscriber.poll() ?? this.#publisher.poll();
    fill(streams, STREAMS_BUFFER - FRAGMENT_BYTES - FRONT_BYTES, next);
    fill(live, LIVE_BUFFER - LIVE_FRAGMENT_BYTES - FRONT_BYTES, () => this.#publisher.pollLive());
  }
}

/**
 * @param {RTCDataChannel} channel
 * @param {number} bytes that it may hold before each message
 * @param {() => Bytes | null} next
 */
function fill(channel, bytes, next) {
  while (channel.readyState === "open" && channel.bufferedAmount <= bytes) {
    const message = next();
    if (!message) return;
    channel.send(message);
  }
}
