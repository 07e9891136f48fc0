/**
 * Invite links: docs/rendezvous.md, section 4.
 * @module
 */

import { fromBase64 } from "./bytes.js";
import { Failure } from "./failure.js";

/** @import { Invite } from "./shapes.js" */

/** The version of all formats. */
export const WIRE_VERSION = 2;
const MAX_LENGTH = 2048;

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
  const known = parts.map(fromBase64);
  const [room, hostKey, secret, pin] = known;
  const isWhole = known.length <= 4 && known.every((part) => part?.length === 32);
  if (!isWhole || !room || !hostKey || !secret || (pin && !server.startsWith("https:"))) throw new Failure("bad_link");
  return { server, room, hostKey, secret };
}
