/**
 * A room's name and password become what a handshake rests on: docs/rendezvous.md, section 15.
 * @module
 */

import { utf8 } from "./bytes.js";
import { Exchange } from "./cpace.js";
import { context, wrap } from "./entry.js";
import { KIND, envelope, openAnswer } from "./envelope.js";
import { Failure, tampered } from "./failure.js";
import { hkdf } from "./noise.js";

/**
 * @import { Server } from "./server.js"
 * @import { Basis, Bytes, NamedRoom } from "./shapes.js"
 */

/**
 * Exchanges shares with whoever answers under the room's name.
 * @param {Server} server
 * @param {NamedRoom} room
 * @returns {Promise<Basis>}
 */
export async function askFor(server, { name, password }) {
  const session = crypto.getRandomValues(new Uint8Array(16));
  const random = crypto.getRandomValues(new Uint8Array(32));
  const prologue = context("LLLSI room", utf8(name));
  const exchange = await Exchange.begin(utf8(password), prologue, session, random);
  server.relay(envelope(KIND.clientShare, session, exchange.share));
  const body = openAnswer(await server.receive(), KIND.hostShare, "wrong_password");
  if (body.length < 64) throw new Failure("tampered");
  const psk = await pskOf(exchange, body.slice(0, 32), body.slice(32, 64)).catch(tampered);
  return { hostKey: body.slice(32, 64), psk, prologue, wrap, refused: "wrong_password" };
}

/**
 * @param {Exchange} exchange
 * @param {Bytes} share the host's
 * @param {Bytes} hostKey
 * @returns {Promise<Bytes>}
 * @throws {DOMException} for a share that no honest host sends
 */
export async function pskOf(exchange, share, hostKey) {
  const isk = await exchange.finish(share, [new Uint8Array(0), hostKey]);
  return hkdf(new Uint8Array(0), isk, utf8("LLLSI room psk"), 32);
}
