/**
 * What goes through the server to the host and back: a version, a kind, and the rest. docs/rendezvous.md, section 8.
 * @module
 */

import { concat } from "./bytes.js";
import { Failure } from "./failure.js";
import { WIRE_VERSION } from "./invite.js";

/** @typedef {import("./bytes.js").Bytes} Bytes */
/** @typedef {import("./failure.js").Code} Code */

export const KIND = Object.freeze({ handshake: 1, sealed: 2, rejected: 3, clientShare: 4, hostShare: 5, ticket: 6 });
/** Why a host rejects a client, by number. @type {Code[]} */
const REJECTIONS = ["protocol", "wrong_secret", "version", "tampered", "too_many_tries"];

/**
 * @param {number} kind
 * @param {...Bytes} body
 * @returns {Bytes}
 */
export function envelope(kind, ...body) {
  return concat(Uint8Array.of(WIRE_VERSION, kind), ...body);
}

/**
 * What a host answers before there is a channel.
 * @param {Bytes} blob
 * @param {number} kind that is expected
 * @param {Code} refused what it means that it does not know our secret
 * @returns {Bytes} its body
 * @throws {Failure}
 */
export function openAnswer(blob, kind, refused) {
  const [version, found, reason = 0] = blob;
  if (found === KIND.rejected) {
    const code = REJECTIONS[reason] ?? "protocol";
    throw new Failure(code === "wrong_secret" ? refused : code);
  }
  if (version !== WIRE_VERSION) throw new Failure("version", `the host's is ${version}`);
  if (found !== kind) throw new Failure("tampered");
  return blob.slice(2);
}

/**
 * A sealed message, still sealed.
 * @param {Bytes} blob
 * @returns {Bytes}
 * @throws {Failure}
 */
export function openSealed(blob) {
  if (blob[0] !== WIRE_VERSION || blob[1] !== KIND.sealed) throw new Failure("tampered");
  return blob.slice(2);
}
