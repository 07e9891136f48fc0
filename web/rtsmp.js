/**
 * RTSMP, the Real-Time Stream Message Protocol: the messages of streams of anything over a link. docs/rtsmp.md, sections
 * 3 and 5.
 * @module
 */

import { concat, utf8 } from "./bytes.js";

/** @import { Announcement, Bytes, Control, EndReason, Fragment, FrameHead, Message } from "./shapes.js" */

/** The largest frame. */
export const MAX_FRAME_BYTES = 16 << 20;
/** The most of a frame that one message holds, where everything arrives and where each message is one packet. */
export const FRAGMENT_BYTES = 16 << 10;
export const LIVE_FRAGMENT_BYTES = 1100;
/** A fragment that is not a frame's last is at least this long: how many of them a frame can have is bounded so. */
const MIN_FRAGMENT_BYTES = 256;
/** Streams that one publisher may have at once. */
export const MAX_STREAMS = 256;
export const MAX_NAME_BYTES = 64;
const MAX_BODY_BYTES = 4096;
/** The most that a subscriber may be ready to hold of one stream. */
export const MAX_WINDOW = 32 << 20;

/** What a stream's frames mean: one item each; changes of a map; pictures; changes that a client wishes. */
export const KIND = Object.freeze({ vector: 1, map: 2, video: 3, writes: 4 });

/** Types of frames: ours, and the first of an application's own. */
const [FRAME, OWN_TYPES] = [1, 128];
/** @type {["announce", "withdraw", "pause", "resume", "subscribe", "unsubscribe", "consumed", "began", "ended", "all_told"]} */
const TYPES = ["announce", "withdraw", "pause", "resume", "subscribe", "unsubscribe", "consumed", "began", "ended", "all_told"];
/** The number of the first of them. */
const FIRST_TYPE = 16;
/** @type {EndReason[]} */
const REASONS = ["unknown", "too_slow", "gone", "refused", "protocol"];
const HEADER_BYTES = 8;

/** Flags of a frame's fragments: its first, its last, of a map's snapshot. */
const [FIRST, LAST] = [1, 2];
export const SNAPSHOT = 4;

/**
 * What a frame counts as, wherever bytes are bounded: so that small ones have a bound too.
 * @param {Uint8Array} payload
 */
export function cost(payload) {
  return payload.length + 32;
}

/**
 * @param {number} type
 * @param {number} flags
 * @param {number} stream
 * @param {number} number
 * @param {number} [more] bytes behind it
 * @returns {[Bytes, DataView]}
 */
function begin(type, flags, stream, number, more = 0) {
  const bytes = new Uint8Array(HEADER_BYTES + more);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, type);
  view.setUint8(1, flags);
  view.setUint16(2, stream);
  view.setUint32(4, number);
  return [bytes, view];
}

/**
 * The fragment of a frame that begins at `offset`, with at most `max` bytes of it; and where the next one begins, which is
 * the payload's length if this is the last.
 * @param {FrameHead} head
 * @param {Uint8Array} payload
 * @param {number} offset
 * @param {number} max
 * @returns {[Bytes, number]}
 */
export function cut({ type = FRAME, flags = 0, stream, number, capturedUs }, payload, offset, max) {
  const end = Math.min(payload.length, offset + max);
  const [isFirst, isLast] = [offset === 0, end === payload.length];
  const isWhole = isFirst && isLast;
  const marks = (flags & ~(FIRST | LAST)) | (isFirst ? FIRST : 0) | (isLast ? LAST : 0);
  const front = (isWhole ? 0 : 8) + (isFirst ? 8 : 0);
  const [bytes, view] = begin(type, marks, stream, number, front + end - offset);
  if (!isWhole) {
    view.setUint32(HEADER_BYTES, payload.length);
    view.setUint32(HEADER_BYTES + 4, offset);
  }
  if (isFirst) view.setBigUint64(HEADER_BYTES + front - 8, BigInt(capturedUs));
  bytes.set(payload.subarray(offset, end), HEADER_BYTES + front);
  return [bytes, end];
}

/**
 * One message, whole. Frames have {@link cut}.
 * @param {Control} message
 * @returns {Bytes}
 */
export function write(message) {
  const type = FIRST_TYPE + TYPES.indexOf(message.type);
  const { stream } = message;
  if (message.type === "announce") return concat(begin(type, 0, stream, 0)[0], body(message.announcement));
  if (message.type === "ended") return concat(begin(type, REASONS.indexOf(message.reason), stream, 0)[0], Uint8Array.of(message.tag));
  if (!("number" in message)) return begin(type, 0, stream, 0)[0];
  const [bytes, view] = begin(type, "tag" in message ? message.tag : 0, stream, message.number, 4);
  view.setUint32(HEADER_BYTES, message.type === "began" ? message.snapshot : message.window);
  return bytes;
}

/** @param {Announcement} announcement @returns {Bytes} */
function body({ run, kind, mode, name, format, of }) {
  const written = mode === "reliable" ? mode : { real_time: Math.round(mode.realTime * 1000) };
  return utf8(JSON.stringify({ run, kind, mode: written, name, format, ...(of === null ? {} : { of }) }));
}

/**
 * One message of either channel.
 * @param {ArrayBuffer} data
 * @returns {Message | null} null for a type that this version does not know
 * @throws {Error} if it makes no sense
 */
export function parse(data) {
  const view = new DataView(data);
  const [kind, flags] = [view.getUint8(0), view.getUint8(1)];
  const [stream, number] = [view.getUint16(2), view.getUint32(4)];
  if (kind === FRAME || kind >= OWN_TYPES) return fragment(view, kind, flags, stream, number);
  const type = TYPES[kind - FIRST_TYPE];
  switch (type) {
    case undefined:
      return null;
    case "announce":
      return { type, stream, announcement: announcement(new Uint8Array(data, HEADER_BYTES)) };
    case "ended":
      return { type, stream, reason: REASONS[flags] ?? "unknown", tag: view.getUint8(HEADER_BYTES) };
    case "began":
      return { type, stream, number, snapshot: view.getUint32(HEADER_BYTES), tag: flags };
    case "subscribe":
      return { type, stream, number, window: Math.min(view.getUint32(HEADER_BYTES), MAX_WINDOW), tag: flags };
    case "consumed":
      return { type, stream, number, window: Math.min(view.getUint32(HEADER_BYTES), MAX_WINDOW) };
    default:
      return { type, stream };
  }
}

/**
 * @param {DataView} view
 * @param {number} kind
 * @param {number} flags
 * @param {number} stream
 * @param {number} number
 * @returns {Fragment}
 */
function fragment(view, kind, flags, stream, number) {
  const [isFirst, isLast] = [(flags & FIRST) !== 0, (flags & LAST) !== 0];
  const isWhole = isFirst && isLast;
  const front = HEADER_BYTES + (isWhole ? 0 : 8);
  const capturedUs = isFirst ? Number(view.getBigUint64(front)) : 0;
  const begins = front + (isFirst ? 8 : 0);
  if (begins > view.byteLength) throw new RangeError("a fragment is cut off");
  const data = new Uint8Array(view.buffer, begins);
  const total = isWhole ? data.length : view.getUint32(HEADER_BYTES);
  const offset = isWhole ? 0 : view.getUint32(HEADER_BYTES + 4);
  const end = offset + data.length;
  const isSound =
    total <= MAX_FRAME_BYTES &&
    (offset === 0) === isFirst &&
    (end === total) === isLast &&
    end <= total &&
    (isLast || data.length >= MIN_FRAGMENT_BYTES);
  if (!isSound) throw new RangeError(`a fragment of ${data.length} bytes at ${offset} of ${total} with flags ${flags}`);
  return { type: "fragment", kind, flags: flags & ~(FIRST | LAST), stream, number, capturedUs, total, offset, data };
}

/**
 * @param {Uint8Array} bytes
 * @returns {Announcement}
 */
function announcement(bytes) {
  if (bytes.length > MAX_BODY_BYTES) throw new RangeError("an announcement that is too long");
  const { run, kind, mode, name, format = "", of = null } = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  const deadline = mode?.real_time;
  const isSound =
    isUnsigned(run, 32) &&
    isUnsigned(kind, 8) &&
    (mode === "reliable" || isUnsigned(deadline, 32)) &&
    isName(name) &&
    (format === "" || isName(format)) &&
    (of === null || typeof of === "string");
  if (!isSound) throw new TypeError("an announcement without sense");
  return { run, kind, mode: mode === "reliable" ? mode : { realTime: deadline / 1000 }, name, format, of };
}

/**
 * @param {unknown} value
 * @param {number} bits
 */
function isUnsigned(value, bits) {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) < 2 ** bits;
}

/**
 * Whether a stream, or a format, may be called so.
 * @param {unknown} name
 * @returns {name is string}
 */
export function isName(name) {
  return typeof name === "string" && name !== "" && utf8(name).length <= MAX_NAME_BYTES;
}
