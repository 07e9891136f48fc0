/**
 * The sealed channel to the host, through the server: docs/rendezvous.md, section 8.
 * @module
 */

import { concat, fromBase64, toBase64, utf8 } from "./bytes.js";
import { Failure, parted } from "./failure.js";
import { WIRE_VERSION } from "./invite.js";
import { Initiator, ephemeral, hkdf } from "./noise.js";

/** @typedef {import("./bytes.js").Bytes} Bytes */
/** @typedef {import("./failure.js").Code} Code */
/** @typedef {import("./invite.js").Invite} Invite */
/** @typedef {import("./server.js").Server} Server */

const [HANDSHAKE, SEALED, REJECTED] = [1, 2, 3];
const MAX_PLAINTEXT = 45_056;
/** Why a host rejects a handshake, by number. @type {Code[]} */
const REJECTIONS = ["protocol", "wrong_secret", "version", "tampered"];
/**
 * @typedef {{ state: "admitted", answer: string } | { state: "waiting" }} Admission
 * @typedef {{ type: "admission", admission: Admission }
 *   | { type: "candidate", candidate: string }
 *   | { type: "restarted", answer: string }
 *   | { type: "part", failure: Failure }} HostMessage
 */

/**
 * @param {Bytes} plaintext
 * @returns {any} whatever JSON it holds
 */
function json(plaintext) {
  try {
    if (plaintext.length > MAX_PLAINTEXT) throw new RangeError("too long");
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(plaintext));
  } catch (error) {
    throw new Failure("protocol", String(error));
  }
}

/**
 * @param {any} value what should be an admission
 * @returns {Admission}
 */
function admission(value) {
  if (value?.state === "waiting") return { state: "waiting" };
  if (value?.state === "admitted" && typeof value.answer === "string") {
    return { state: "admitted", answer: value.answer };
  }
  if (value?.state === "refused") throw parted(text(value.reason));
  throw new Failure("protocol", "no admission");
}

/**
 * @param {number} kind
 * @param {Bytes} body
 */
function envelope(kind, body) {
  return concat(Uint8Array.of(WIRE_VERSION, kind), body);
}

/**
 * @param {Bytes} blob
 * @returns {{ version: number, kind: number, body: Bytes }}
 */
function open(blob) {
  const [version = 0, kind = 0] = blob;
  return { version, kind, body: blob.slice(2) };
}

/**
 * @param {any} value
 * @returns {string}
 */
function text(value) {
  if (typeof value !== "string") throw new Failure("protocol", "a text is missing");
  return value;
}

/**
 * @param {Bytes} hash of the handshake
 * @returns {Promise<string>}
 */
export async function shortCode(hash) {
  const bytes = await hkdf(hash, new Uint8Array(0), utf8("LLLSI short code"), 8);
  const digits = String(new DataView(bytes.buffer).getBigUint64(0) % 1_000_000n).padStart(6, "0");
  return `${digits.slice(0, 3)} ${digits.slice(3)}`;
}

/** Seals what is for the host, and opens what comes from it. Any message that does not open is the end of it. */
export class SealedChannel {
  #server;
  #session;
  #sending = Promise.resolve();

  /**
   * @param {Server} server
   * @param {import("./noise.js").Session} session
   * @param {Bytes} hostNonce
   * @param {Admission} first
   */
  constructor(server, session, hostNonce, first) {
    this.#server = server;
    this.#session = session;
    this.hostNonce = hostNonce;
    this.admission = first;
  }

  /**
   * Six digits that the host sees too, in two groups.
   * @returns {Promise<string>}
   */
  async shortCode() {
    return shortCode(this.#session.hash);
  }

  /** Of the whole handshake: the two ends of one channel have the same. */
  get hash() {
    return this.#session.hash;
  }

  /**
   * Shakes hands with the host.
   * @param {Server} server
   * @param {Invite} invite
   * @param {{ name: string, offer: string, nonce: Bytes }} hello
   * @returns {Promise<SealedChannel>}
   */
  static async open(server, invite, { name, offer, nonce }) {
    const prologue = concat(utf8("LLLSI signalling v"), Uint8Array.of(WIRE_VERSION), invite.room);
    const noise = await Initiator.begin(prologue, invite.hostKey, invite.secret, await ephemeral());
    const hello = utf8(JSON.stringify({ name, offer, nonce: toBase64(nonce) }));
    server.relay(envelope(HANDSHAKE, await noise.write(hello)));

    const { version, kind, body } = open(await server.receive());
    if (kind === REJECTED) throw new Failure(REJECTIONS[body[0] ?? 0] ?? "protocol");
    if (version !== WIRE_VERSION) throw new Failure("version", `the host's is ${version}`);
    if (kind !== HANDSHAKE) throw new Failure("tampered");
    const { payload, session } = await noise.read(body).catch(() => {
      throw new Failure("tampered");
    });
    const welcome = json(payload);
    const hostNonce = fromBase64(welcome?.nonce);
    if (hostNonce?.length !== 32) throw new Failure("protocol", "no nonce");
    return new SealedChannel(server, session, hostNonce, admission(welcome.admission));
  }

  /**
   * Messages go out in the order of the calls.
   * @param {object} message
   * @returns {Promise<void>} when it and all before it are on their way
   */
  send(message) {
    const sealed = this.#sending.then(() => this.#session.sealer.seal(utf8(JSON.stringify(message))));
    this.#sending = sealed.then(
      (body) => this.#server.relay(envelope(SEALED, body)),
      // One that is missing would make the host take all later ones for tampered with.
      () => this.#server.close(),
    );
    return this.#sending;
  }

  /**
   * The next message that a client knows.
   * @returns {Promise<HostMessage>}
   * @throws {Failure} when none can follow
   */
  async receive() {
    for (;;) {
      const { version, kind, body } = open(await this.#server.receive());
      if (version !== WIRE_VERSION || kind !== SEALED) throw new Failure("tampered");
      const plaintext = await this.#session.opener.open(body).catch(() => {
        throw new Failure("tampered");
      });
      const message = json(plaintext);
      switch (message?.type) {
        case "admission":
          return { type: "admission", admission: admission(message) };
        case "candidate":
          return { type: "candidate", candidate: text(message.candidate) };
        case "restarted":
          return { type: "restarted", answer: text(message.answer) };
        case "part":
          return { type: "part", failure: parted(text(message.reason)) };
      }
    }
  }
}
