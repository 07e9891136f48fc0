/**
 * CBOR (RFC 8949), as far as values of JavaScript need it. What is equal has equal bytes: lengths are definite and as
 * short as they can be, and so are numbers.
 * @module
 */

/** @import { Bytes } from "./shapes.js" */

const [UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE] = [0, 1, 2, 3, 4, 5, 6, 7];
const [FALSE, TRUE, NULL, UNDEFINED, HALF, SINGLE, DOUBLE] = [20, 21, 22, 23, 25, 26, 27];
/** In the place of a length: parts follow until a break. */
const INDEFINITE = 31;
const BREAK = 0xff;
const MAX_DEPTH = 64;
/** Integers up to here are numbers, others `bigint`. */
const MAX_EXACT = 2 ** 53;
const SCRATCH = new DataView(new ArrayBuffer(4));
const ENCODER = new TextEncoder();
const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * @param {number} bits 16 of them: IEEE 754, section 3.6
 * @returns {number}
 */
function fromHalf(bits) {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const special = fraction ? NaN : Infinity;
  const size = exponent === 31 ? special : exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
  return bits >> 15 ? -size : size;
}

/**
 * @param {number} value
 * @returns {number | null} its 16 bits; null if they are too few
 */
function toHalf(value) {
  if (Number.isNaN(value)) return 0x7e00;
  SCRATCH.setFloat32(0, value);
  if (SCRATCH.getFloat32(0) !== value) return null;
  const bits = SCRATCH.getUint32(0);
  const [sign, exponent, fraction] = [(bits >>> 16) & 0x8000, ((bits >>> 23) & 255) - 112, bits & 0x7f_ffff];
  if (value === 0) return sign;
  if (Math.abs(value) === Infinity) return sign | 0x7c00;
  // What is smaller than the smallest normal number has fewer digits.
  const [digits, surplus] = exponent > 0 ? [(exponent << 23) | fraction, 13] : [0x80_0000 | fraction, 14 - exponent];
  const isIn = exponent < 31 && surplus < 24 && (digits >>> surplus) << surplus === digits;
  return isIn ? sign | (digits >>> surplus) : null;
}

/** Bytes that grow. */
class Writer {
  #bytes = new Uint8Array(64);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /** @param {number} more @returns {number} where they begin */
  #grow(more) {
    const [at, end] = [this.#length, this.#length + more];
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(end, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      [this.#bytes, this.#view] = [larger, new DataView(larger.buffer)];
    }
    this.#length = end;
    return at;
  }

  /**
   * A type, and the shortest form of its argument.
   * @param {number} major
   * @param {number | bigint} argument
   */
  #head(major, argument) {
    const type = major << 5;
    const size = [24, 0x100, 0x1_0000, 0x1_0000_0000].findIndex((end) => argument < end);
    const at = this.#grow(1 + ([0, 1, 2, 4][size] ?? 8));
    this.#view.setUint8(at, size === 0 ? type | Number(argument) : type | (size > 0 ? 23 + size : 27));
    if (size === 1) this.#view.setUint8(at + 1, Number(argument));
    if (size === 2) this.#view.setUint16(at + 1, Number(argument));
    if (size === 3) this.#view.setUint32(at + 1, Number(argument));
    if (size < 0) this.#view.setBigUint64(at + 1, BigInt(argument));
  }

  /** @param {number} value */
  #float(value) {
    const half = toHalf(value);
    const isSingle = Math.fround(value) === value;
    const [size, info] = half !== null ? [2, HALF] : isSingle ? [4, SINGLE] : [8, DOUBLE];
    const at = this.#grow(1 + size);
    this.#view.setUint8(at, (SIMPLE << 5) | info);
    if (half !== null) this.#view.setUint16(at + 1, half);
    else if (isSingle) this.#view.setFloat32(at + 1, value);
    else this.#view.setFloat64(at + 1, value);
  }

  /** @param {number | bigint} value */
  #number(value) {
    const isInteger = typeof value === "bigint" || (Number.isInteger(value) && Math.abs(value) <= MAX_EXACT);
    if (!isInteger || Object.is(value, -0)) return this.#float(Number(value));
    if (value >= 0) return this.#integer(UNSIGNED, value);
    this.#integer(NEGATIVE, typeof value === "bigint" ? -1n - value : -1 - value);
  }

  /**
   * @param {number} major
   * @param {number | bigint} argument
   */
  #integer(major, argument) {
    if (argument >= 2n ** 64n) throw new RangeError("an integer of more than 64 bits");
    this.#head(major, argument);
  }

  /**
   * @param {number} major
   * @param {Uint8Array} bytes
   */
  #string(major, bytes) {
    this.#head(major, bytes.length);
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /**
   * @param {unknown} value
   * @param {number} depth
   */
  write(value, depth = 0) {
    if (depth > MAX_DEPTH) throw new RangeError("too deep, or in itself");
    if (value === null) this.#head(SIMPLE, NULL);
    else if (value === undefined) this.#head(SIMPLE, UNDEFINED);
    else if (typeof value === "boolean") this.#head(SIMPLE, value ? TRUE : FALSE);
    else if (typeof value === "number" || typeof value === "bigint") this.#number(value);
    else if (typeof value === "string") this.#string(TEXT, ENCODER.encode(value));
    else if (value instanceof Uint8Array) this.#string(BYTES, value);
    else if (Array.isArray(value)) {
      this.#head(ARRAY, value.length);
      for (const item of value) this.write(item, depth + 1);
    } else this.#map(value, depth);
  }

  /**
   * @param {unknown} value
   * @param {number} depth
   */
  #map(value, depth) {
    const entries = value instanceof Map ? [...value] : Object.entries(plain(value));
    this.#head(MAP, entries.length);
    for (const entry of entries) entry.forEach((item) => this.write(item, depth + 1));
  }

  /** All that was written. */
  take() {
    return this.#bytes.slice(0, this.#length);
  }
}

/**
 * @param {unknown} value
 * @returns {object} the same, if it is a plain object of whatever window
 */
function plain(value) {
  if (typeof value === "object" && value !== null) {
    const prototype = Object.getPrototypeOf(value);
    if (prototype === null || Object.getPrototypeOf(prototype) === null) return value;
  }
  throw new TypeError(`CBOR has no ${Object.prototype.toString.call(value)}`);
}

/**
 * Null, undefined, booleans, numbers, strings, `Uint8Array`, arrays, plain objects, `Map`, and `bigint` of at most 64 bits.
 * @param {unknown} value
 * @returns {Bytes}
 * @throws {RangeError | TypeError} for others
 */
export function encode(value) {
  const writer = new Writer();
  writer.write(value);
  return writer.take();
}

/** Reads one item after another. What it costs depends on how long the bytes are, not on what they say. */
export class Decoder {
  #bytes;
  #view;
  #at = 0;

  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isAtEnd() {
    return this.#at === this.#bytes.length;
  }

  /**
   * The next item.
   * @returns {any}
   * @throws {Error} if there is none
   */
  next() {
    return this.#value(0);
  }

  /**
   * The elements of the next item, which is an array, and their bytes.
   * @returns {{ value: any, bytes: Uint8Array }[]}
   * @throws {Error} if it is none
   */
  nextArray() {
    const { major, argument } = this.#head();
    if (major !== ARRAY) throw new Error("not an array");
    return this.#several(argument, () => {
      const begin = this.#at;
      const value = this.#value(1);
      return { value, bytes: this.#bytes.slice(begin, this.#at) };
    });
  }

  /** @param {number} length @returns {number} where they begin */
  #skip(length) {
    const at = this.#at;
    if (length > this.#bytes.length - at) throw new RangeError("it is cut off");
    this.#at += length;
    return at;
  }

  /**
   * A type and its argument: null if that is indefinite, `bigint` if it is large.
   * @returns {{ major: number, info: number, argument: number | bigint | null }}
   */
  #head() {
    const first = this.#view.getUint8(this.#skip(1));
    const [major, info] = [first >> 5, first & 31];
    return { major, info, argument: this.#argument(major, info) };
  }

  /**
   * @param {number} major
   * @param {number} info
   * @returns {number | bigint | null}
   */
  #argument(major, info) {
    if (info < 24) return info;
    if (info === 24) return this.#view.getUint8(this.#skip(1));
    if (info === 25) return this.#view.getUint16(this.#skip(2));
    if (info === 26) return this.#view.getUint32(this.#skip(4));
    if (info === 27) {
      const long = this.#view.getBigUint64(this.#skip(8));
      return long <= MAX_EXACT ? Number(long) : long;
    }
    if (info !== INDEFINITE || major === UNSIGNED || major === NEGATIVE || major === TAG) throw new Error("no argument");
    return null;
  }

  /**
   * @param {number} depth
   * @returns {any}
   */
  #value(depth) {
    if (depth > MAX_DEPTH) throw new RangeError("too deep");
    const { major, info, argument } = this.#head();
    if (major === SIMPLE) return this.#simple(info);
    if (major === UNSIGNED) return argument;
    if (major === NEGATIVE) return negative(argument);
    if (major === TAG) return this.#value(depth + 1);
    if (major === ARRAY) return this.#several(argument, () => this.#value(depth + 1));
    if (major === MAP) return this.#map(argument, depth);
    return argument === null ? this.#chunks(major) : this.#string(major, argument);
  }

  /** @param {number} info @returns {any} */
  #simple(info) {
    switch (info) {
      case FALSE:
      case TRUE:
        return info === TRUE;
      case NULL:
        return null;
      case UNDEFINED:
        return undefined;
      case HALF:
        return fromHalf(this.#view.getUint16(this.#at - 2));
      case SINGLE:
        return this.#view.getFloat32(this.#at - 4);
      case DOUBLE:
        return this.#view.getFloat64(this.#at - 8);
      default:
        throw new Error("a simple value that means nothing here");
    }
  }

  /**
   * @param {number} major
   * @param {number | bigint} length
   * @returns {Bytes | string}
   */
  #string(major, length) {
    const at = this.#skip(Number(length));
    if (major === BYTES) return this.#bytes.slice(at, this.#at);
    return DECODER.decode(this.#bytes.subarray(at, this.#at));
  }

  /**
   * A string in parts.
   * @param {number} major
   * @returns {Bytes | string}
   */
  #chunks(major) {
    const begin = this.#at;
    let length = 0;
    this.#eachChunk(major, (chunk) => (length += chunk.length));
    this.#at = begin;
    const all = new Uint8Array(length);
    length = 0;
    this.#eachChunk(major, (chunk) => {
      all.set(chunk, length);
      length += chunk.length;
    });
    return major === BYTES ? all : DECODER.decode(all);
  }

  /**
   * @param {number} major
   * @param {(chunk: Uint8Array) => void} act
   */
  #eachChunk(major, act) {
    while (this.#bytes[this.#at] !== BREAK) {
      const { major: found, argument } = this.#head();
      if (found !== major || argument === null) throw new Error("a part of another string");
      const at = this.#skip(Number(argument));
      act(this.#bytes.subarray(at, this.#at));
    }
    this.#at += 1;
  }

  /**
   * As many as there are said to be, or up to a break.
   * @template T
   * @param {number | bigint | null} count
   * @param {() => T} read
   * @returns {T[]}
   */
  #several(count, read) {
    const all = [];
    if (count === null) {
      while (this.#bytes[this.#at] !== BREAK) all.push(read());
      this.#at += 1;
    }
    // However many they are said to be: each has a byte at least, or `read` throws.
    while (all.length < Number(count)) all.push(read());
    return all;
  }

  /**
   * An object if all keys are strings.
   * @param {number | bigint | null} count
   * @param {number} depth
   * @returns {Map<any, any> | object}
   */
  #map(count, depth) {
    const entries = this.#several(count, () => {
      const key = this.#value(depth + 1);
      return /** @type {[any, any]} */ ([key, this.#value(depth + 1)]);
    });
    const isObject = entries.every(([key]) => typeof key === "string");
    // Which makes members of its own, also one called __proto__.
    return isObject ? Object.fromEntries(entries) : new Map(entries);
  }
}

/** @param {number | bigint | null} argument @returns {number | bigint} */
function negative(argument) {
  const value = -1n - BigInt(argument ?? 0);
  return value >= -MAX_EXACT ? Number(value) : value;
}

/**
 * One item. Maps whose keys are all strings become objects; tags are left out.
 * @param {Uint8Array} bytes
 * @returns {any}
 * @throws {Error} for anything but one whole item
 */
export function decode(bytes) {
  const decoder = new Decoder(bytes);
  const value = decoder.next();
  if (!decoder.isAtEnd) throw new Error("more than one item");
  return value;
}
