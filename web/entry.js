/**
 * What lets a client in: a link, a room's name and password, or what the host gave to whom it let in before; and what a
 * handshake rests on then. docs/rendezvous.md, sections 8.1 and 15.
 * @module
 */

import { concat, utf8 } from "./bytes.js";
import { KIND, envelope } from "./envelope.js";
import { Failure } from "./failure.js";
import { WIRE_VERSION } from "./invite.js";

/**
 * @import { Server } from "./server.js"
 * @import { Basis, Bytes, Entry, NamedRoom, Place } from "./shapes.js"
 */

/** The longest name and password, in bytes of UTF-8. */
const MAX_NAME = 64;
const MAX_PASSWORD = 256;

/**
 * A text as both sides use it, however it was typed.
 * @param {string} text
 * @param {number} max bytes
 * @returns {string}
 * @throws {Failure} `bad_room`
 */
function normal(text, max) {
  const found = text.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, "").normalize("NFC");
  if (!found || utf8(found).length > max || /\p{Cc}/u.test(found)) throw new Failure("bad_room");
  return found;
}

/**
 * @param {string} server
 * @param {string} name
 * @param {string} password
 * @returns {NamedRoom}
 * @throws {Failure} `bad_room`
 */
export function namedRoom(server, name, password) {
  return { server, name: normal(name, MAX_NAME), password: normal(password, MAX_PASSWORD) };
}

/** @param {Bytes} message @returns {Bytes} */
export function wrap(message) {
  return envelope(KIND.handshake, message);
}

/** @param {Entry} entry @returns {Place} */
export function placeOf(entry) {
  if ("ticket" in entry) return { room: entry.ticket.room };
  return "name" in entry ? { name: entry.name } : { room: entry.room };
}

/**
 * @param {string} purpose
 * @param {Bytes} subject
 */
export function context(purpose, subject) {
  return concat(utf8(`${purpose} v`), Uint8Array.of(WIRE_VERSION), subject);
}

/**
 * @param {Server} server
 * @param {Entry} entry
 * @returns {Promise<Basis>}
 * @throws {Failure}
 */
export async function basisOf(server, entry) {
  // Who comes by a link does without all that.
  if ("password" in entry) return (await import("./password.js")).askFor(server, entry);
  const { hostKey } = entry;
  if ("secret" in entry) {
    const prologue = context("LLLSI signalling", entry.room);
    return { hostKey, psk: entry.secret, prologue, wrap, refused: "wrong_secret" };
  }
  const { id, secret } = entry.ticket;
  return {
    hostKey,
    psk: secret,
    prologue: context("LLLSI ticket", id),
    wrap: (message) => envelope(KIND.ticket, id, message),
    refused: "wrong_ticket",
  };
}
