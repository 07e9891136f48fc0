/**
 * What goes through the server to the host and back: a version, a kind, and the rest. docs/rendezvous.md, section 8.
 * @module
 */

import { concat } from "./bytes.js";
import { Failure } from "./failure.js";
import { WIRE_VERSION } from "./invite.js";

/** @import { Bytes, Code } from "./shapes.js" */

export const KIND = Object.freeze({ handshake: 1, sealed: 2, rejected: 3, clientShare: 4, hostShare: 5, ticket: 6 });
/** Why a host rejects a client, by number. @type {Map<number, Code>} */
const REJECTIONS = new Map([
  [1, "wrong_secret"],
  [2, "version"],
  [3, "tampered"],
  [4, "too_many_tries"],
]);

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
  if (version === undefined || found === undefined) throw new Failure("tampered");
  const rejection = found === KIND.rejected && REJECTIONS.get(reason);
  if (rejection) {
    // Of tries a host speaks before it has heard of a password, never after: that would be to hear of another.
    if (rejection === "too_many_tries" && kind !== KIND.hostShare) throw new Failure("tampered");
    throw new Failure(rejection === "wrong_secret" ? refused : rejection);
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
