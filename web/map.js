/**
 * Maps of the host's, as they are here: docs/rtsmp.md, section 7.
 * @module
 */

import { Decoder, encode } from "./cbor.js";
import { Broken } from "./fragments.js";

/** @import { Bytes, Change, EndReason } from "./shapes.js" */

/** The largest map that is taken, in bytes of keys and values. */
const MAX_BYTES = 64 << 20;
/** Entries cost something besides their bytes: they count as so many more, everywhere. */
const ENTRY_BYTES = 128;

/**
 * Keys are equal if their bytes are.
 * @param {Uint8Array} bytes
 * @returns {string}
 */
function nameOf(bytes) {
  let name = "";
  for (const byte of bytes) name += String.fromCharCode(byte);
  return name;
}

/** Entries by their keys' bytes. */
class Entries {
  /** @type {Map<string, { key: any, value: any, bytes: number }>} */
  entries = new Map();
  #bytes = 0;

  /**
   * Makes all changes of a frame.
   * @param {Uint8Array} payload
   * @param {(change: Change) => void} tell
   * @throws {Error} if they make no sense, or are too many
   */
  apply(payload, tell) {
    const decoder = new Decoder(payload);
    while (!decoder.isAtEnd) {
      const [key, value, ...more] = decoder.nextArray();
      if (more.length > 0) throw new Broken("a change of more than a key and a value");
      if (!key) {
        [this.entries, this.#bytes] = [new Map(), 0];
        tell({ type: "reset" });
        continue;
      }
      this.#set(key, value);
      tell(value ? { type: "insert", key: key.value, value: value.value } : { type: "remove", key: key.value });
    }
  }

  /**
   * @param {{ value: any, bytes: Uint8Array }} key
   * @param {{ value: any, bytes: Uint8Array } | undefined} value
   */
  #set(key, value) {
    const name = nameOf(key.bytes);
    this.#bytes -= this.entries.get(name)?.bytes ?? 0;
    if (!value) return void this.entries.delete(name);
    const bytes = key.bytes.length + value.bytes.length + ENTRY_BYTES;
    this.#bytes += bytes;
    if (this.#bytes > MAX_BYTES) throw new Broken("a map that is too large");
    this.entries.set(name, { key: key.value, value: value.value, bytes });
  }
}

/** What the host has told of a map. */
export class Mirror {
  #entries = new Entries();
  /** A snapshot that is not whole yet. @type {Entries | null} */
  #next = null;
  /** Who is told of changes, and of the end. @type {(type: "change" | "end", detail: Change | EndReason | null) => void} */
  tell = () => {};

  get entries() {
    return this.#entries.entries;
  }

  /** A snapshot comes, of so many frames. @param {number} frames */
  begin(frames) {
    this.#next = new Entries();
    if (frames === 0) this.#turn();
  }

  /**
   * @param {Uint8Array} payload of a snapshot
   * @param {boolean} isLast
   */
  snapshot(payload, isLast) {
    this.#next?.apply(payload, () => {});
    if (isLast) this.#turn();
  }

  /** @param {Uint8Array} payload */
  change(payload) {
    this.#entries.apply(payload, (change) => this.tell("change", change));
  }

  #turn() {
    [this.#entries, this.#next] = [this.#next ?? this.#entries, null];
    this.tell("change", { type: "reset" });
  }
}

/**
 * A map of the host's. Event `change`, with a {@link Change} as its detail; and `end`, with the reason if the host has
 * ended it, or null when the room ends. What was there then stays.
 *
 * A map that the host lets clients write: `set`, `delete` and `clear` send a wish, and are done when it has found its
 * place. The map changes when the host has changed it for all.
 * @template [K=any]
 * @template [V=any]
 */
export class MapStream extends EventTarget {
  #mirror;
  #write;
  #stop;

  /**
   * @param {Mirror} mirror
   * @param {(change: Bytes) => Promise<void>} write
   * @param {() => void} stop
   */
  constructor(mirror, write, stop) {
    super();
    this.#mirror = mirror;
    this.#write = write;
    this.#stop = stop;
    mirror.tell = (type, detail) => this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  get size() {
    return this.#mirror.entries.size;
  }

  /** @param {K} key @returns {V | undefined} */
  get(key) {
    return this.#mirror.entries.get(nameOf(encode(key)))?.value;
  }

  /** @param {K} key */
  has(key) {
    return this.#mirror.entries.has(nameOf(encode(key)));
  }

  /** @returns {Generator<[K, V], void>} */
  *entries() {
    for (const { key, value } of this.#mirror.entries.values()) yield [key, value];
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  /** @param {K} key @param {V} value */
  async set(key, value) {
    await this.#write(encode([key, value]));
  }

  /** @param {K} key */
  async delete(key) {
    await this.#write(encode([key]));
  }

  async clear() {
    await this.#write(encode([]));
  }

  /** It changes no more. */
  stop() {
    this.#stop();
  }
}
