/**
 * What can go wrong, in words for a person. The codes are those of the command `lllsi`.
 * @module
 */

/** @import { Code } from "./shapes.js" */

/** Code: what happened, and what to do about it. */
export const FAILURES = Object.freeze({
  unexpected: ["Something went wrong on this page", "Load it again. If that does not help, please report it."],
  insecure: ["Browsers only allow this over https", "Ask the host for a link that begins with https, or watch with the program, lllsi join."],
  unsupported: ["This browser lacks what the stream needs", "Update it, or use another one."],
  bad_link: ["This is not a whole invite link", "Copy it again, from http to the last letter."],
  bad_room: ["This cannot be a room's name and password", "Both are needed: a name of at most 64 bytes, a password of at most 256."],
  other_server: ["This link belongs to another server", "Open the link itself: it leads there."],
  server_unreachable: ["The server cannot be reached", "Check your network, then join again."],
  unknown_room: ["There is no such room", "Ask the host whether it still runs, and for a new link; in a room's name, capital letters count."],
  wrong_secret: ["The host does not know this link", "Copy the whole link again, or ask the host for a new one."],
  wrong_password: ["The password is wrong, or another host answers under this name", "Ask the host for the password by another way. If it was right, somebody else answers under this name."],
  too_many_tries: ["Too many wrong passwords were tried at this room", "Wait a minute and try again, or ask the host for a link: it is not slowed down."],
  impostor: ["Whoever answers under this name may not be your host", "It did not show in three tries that it knows the password, and each lets it test one. Ask the host by another way before you load this page again."],
  wrong_ticket: ["The host does not know you any more", "Join as you did the first time."],
  replaced: ["You joined again elsewhere", "Go on watching there."],
  room_full: ["The room is full", "Join again when a viewer has left, or ask the host for more places; or for a link, if you came by the room's name."],
  version: ["This page and the host do not speak the same version", "Ask the host to install the newest lllsi on both sides."],
  kicked: ["The host removed you", "Ask the host if that was a mistake."],
  host_closed: ["The host ended the stream", "Ask the host for a new link if there is to be another."],
  source_lost: ["The host has no picture any more", "Ask the host for a new link once its screen is back."],
  invite_expired: ["This invitation is not valid any more", "Ask the host for a new link."],
  host_vanished: ["Nothing comes from the host any more", "Check your network; join again once the host is back."],
  no_path: ["No direct path to the host was found", "Try another network on one side: strict NATs on both sides cannot be crossed yet."],
  packet_size: ["Large packets do not get through between you and the host", "Try another network on one side, or give a tunnel on the way a larger MTU: a browser needs 1,230 bytes."],
  local_network: ["This browser may not reach the local network", "Allow that beside the page's address, then join again."],
  tampered: ["Somebody between you and the host interferes", "Use another server or network."],
  no_answer: ["The host does not answer", "Ask the host whether its program still runs."],
  refused: ["The server refused", "Join again later, or use another server."],
  server: ["The server says things this page does not understand", "Load the page again: it may be of another time than the server."],
  protocol: ["The host says things this page does not understand", "Ask the host to install the newest lllsi."],
});

/** Of what others say, so much is shown: a message, not a page of theirs. */
const MAX_DETAIL = 64;

/** Why a session ended, or never began. */
export class Failure extends Error {
  /**
   * @param {Code} code
   * @param {string} [detail] for those who want to know more
   */
  constructor(code, detail) {
    super(FAILURES[code][0]);
    this.code = code;
    this.detail = (detail ?? "").slice(0, MAX_DETAIL);
  }

  /** What to do about it. */
  get next() {
    return FAILURES[this.code][1];
  }

  /**
   * @param {unknown} error
   * @returns {Failure}
   */
  static of(error) {
    return error instanceof Failure ? error : new Failure("unexpected", String(error));
  }
}

/** @returns {never} */
export function tampered() {
  throw new Failure("tampered");
}

/** Why a host parts or refuses. @type {Code[]} */
const PARTINGS = ["room_full", "kicked", "host_closed", "source_lost", "invite_expired", "replaced", "protocol"];

/**
 * @param {string} reason as the host told it
 * @returns {Failure}
 */
export function parted(reason) {
  const code = PARTINGS.find((known) => known === reason);
  return code ? new Failure(code) : new Failure("host_closed", reason);
}
