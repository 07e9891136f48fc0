/**
 * Control messages on a link: docs/control.md, section 4.
 * @module
 */

/** @import { Bytes, ControlMessage, Report, SentFrame } from "./shapes.js" */

const [CONFIRM, PING, PONG, REPORT, GOODBYE] = [1, 2, 3, 4, 5];
const MAX_BYTES = 1024;
const MAC_BYTES = 32;

/** Why a side parts: the byte of `goodbye`, and the text of `part`. */
const REASONS = ["unknown", "room_full", "kicked", "host_closed", "client_left", "protocol", "source_lost", "invite_expired", "replaced"];

/**
 * @param {number} length
 * @param {number} type
 * @returns {[Bytes, DataView]}
 */
function begin(length, type) {
  const bytes = new Uint8Array(length);
  bytes[0] = type;
  return [bytes, new DataView(bytes.buffer)];
}

/**
 * @param {Bytes} mac
 * @param {boolean} verified
 * @returns {Bytes}
 */
export function confirm(mac, verified) {
  const [bytes] = begin(34, CONFIRM);
  bytes.set(mac, 1);
  bytes[33] = verified ? 1 : 0;
  return bytes;
}

/**
 * @param {number} sentUs our clock, microseconds
 * @returns {Bytes}
 */
export function ping(sentUs) {
  const [bytes, view] = begin(9, PING);
  view.setBigUint64(1, BigInt(sentUs));
  return bytes;
}

/**
 * @param {Report} report
 * @returns {Bytes}
 */
export function report({ frame, packets, missed, bytes: received, queuedUs, latencyUs }) {
  const [bytes, view] = begin(29, REPORT);
  view.setUint32(1, frame);
  view.setUint32(5, packets);
  view.setUint32(9, missed);
  view.setBigUint64(13, BigInt(received));
  view.setUint32(21, Math.min(queuedUs, 0xffff_ffff));
  view.setUint32(25, Math.min(latencyUs, 0xffff_ffff));
  return bytes;
}

/** We leave. */
export function goodbye() {
  const [bytes] = begin(2, GOODBYE);
  bytes[1] = REASONS.indexOf("client_left");
  return bytes;
}

/**
 * @param {DataView} pong
 * @returns {SentFrame}
 */
function sentFrame(pong) {
  return {
    timestamp: pong.getUint32(17),
    number: pong.getUint32(21),
    capturedUs: Number(pong.getBigUint64(25)),
    captureWaitUs: pong.getUint32(33),
    captureUs: pong.getUint32(37),
    convertUs: pong.getUint32(41),
    encodeWaitUs: pong.getUint32(45),
    encodeUs: pong.getUint32(49),
    sendQueueUs: pong.getUint32(53),
  };
}

/**
 * @param {ArrayBuffer} data
 * @returns {ControlMessage | null} null for what a client does not know or need
 */
export function parseControl(data) {
  if (data.byteLength === 0 || data.byteLength > MAX_BYTES) return null;
  const view = new DataView(data);
  const type = view.getUint8(0);
  if (type === CONFIRM && data.byteLength >= 34) {
    return { type: "confirm", mac: new Uint8Array(data, 1, MAC_BYTES), verified: view.getUint8(33) !== 0 };
  }
  if (type === PONG && data.byteLength >= 57) {
    const [sentUs, receivedUs] = [Number(view.getBigUint64(1)), Number(view.getBigUint64(9))];
    return { type: "pong", sentUs, receivedUs, newest: sentFrame(view) };
  }
  if (type === GOODBYE && data.byteLength >= 2) {
    return { type: "goodbye", reason: REASONS[view.getUint8(1)] ?? "unknown" };
  }
  return null;
}
