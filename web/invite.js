/**
 * Invite links: docs/rendezvous.md, section 4.
 * @module
 */

import { fromBase64 } from "./bytes.js";
import { Failure } from "./failure.js";

/** The version of all formats. */
export const WIRE_VERSION = 1;
const MAX_LENGTH = 2048;

/**
 * @typedef {object} Invite
 * @property {string} server base URL without a slash at its end
 * @property {import("./bytes.js").Bytes} room its id
 * @property {import("./bytes.js").Bytes} hostKey the host's X25519 public key
 * @property {import("./bytes.js").Bytes} secret known to holders of the link only
 */

/**
 * @param {string} text
 * @returns {Invite}
 * @throws {Failure} `bad_link`, or `version` for a link of another time
 */
export function parseInvite(text) {
  const link = text.trim();
  const hash = link.indexOf("#");
  const server = link.slice(0, Math.max(hash, 0)).replace(/\/+$/, "");
  if (link.length > MAX_LENGTH || !/^https?:\/\/[^\s/]+\S*$/.test(server)) throw new Failure("bad_link");
  const [version = "", ...parts] = link.slice(hash + 1).split(".");
  if (!/^v\d{1,3}$/.test(version)) throw new Failure("bad_link");
  if (Number(version.slice(1)) !== WIRE_VERSION) throw new Failure("version", `the link's is ${version}`);
  // The fourth is the hash of the server's certificate, which only programs can look at.
  const [room, hostKey, secret] = parts.map(fromBase64);
  if (parts.length < 3 || parts.length > 4 || parts.some((part) => fromBase64(part)?.length !== 32)) {
    throw new Failure("bad_link");
  }
  if (!room || !hostKey || !secret || (parts.length === 4 && !server.startsWith("https:"))) throw new Failure("bad_link");
  return { server, room, hostKey, secret };
}
