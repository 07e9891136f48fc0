/**
 * The sealed channel to the host, through the server: docs/rendezvous.md, section 8.
 * @module
 */

import { concat, fromBase64, toBase64, utf8 } from "./bytes.js";
import { basisOf } from "./entry.js";
import { KIND, envelope, openAnswer, openSealed } from "./envelope.js";
import { Failure, parted, tampered } from "./failure.js";
import { Initiator, ephemeral, hkdf } from "./noise.js";

/**
 * @import { Server } from "./server.js"
 * @import { Admission, Bytes, Entry, HostMessage, Keys, Pass, Ticket } from "./shapes.js"
 */

const MAX_PLAINTEXT = 45_056;
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
 * @param {any} value a ticket, if there is one
 * @returns {Ticket | null}
 */
function ticket(value) {
  if (value === undefined || value === null) return null;
  const [room, id, secret] = [fromBase64(value.room), fromBase64(value.id), fromBase64(value.secret)];
  if (room?.length === 32 && id?.length === 16 && secret?.length === 32) return { room, id, secret };
  throw new Failure("protocol", "no ticket");
}

/**
 * @param {any} value what should be an admission
 * @returns {Admission}
 */
function admission(value) {
  if (value?.state === "waiting") return { state: "waiting" };
  if (value?.state === "admitted" && typeof value.answer === "string") {
    return { state: "admitted", answer: value.answer, ticket: ticket(value.ticket) };
  }
  if (value?.state === "refused") throw parted(text(value.reason));
  throw new Failure("protocol", "no admission");
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
 * Fixes a number that is shown later.
 * @param {"client" | "host"} role who shows it
 * @param {Bytes} opening
 * @returns {Promise<Bytes>}
 */
export async function commit(role, opening) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", concat(utf8(`LLLSI short code, ${role}`), opening)));
}

/**
 * Six digits that the host sees too, in two groups.
 * @param {Bytes} hash of the handshake
 * @param {Bytes[]} secrets both nonces and both openings
 * @returns {Promise<string>}
 */
export async function shortCode(hash, ...secrets) {
  const bytes = await hkdf(hash, concat(...secrets), utf8("LLLSI short code"), 8);
  const digits = String(new DataView(bytes.buffer).getBigUint64(0) % 1_000_000n).padStart(6, "0");
  return `${digits.slice(0, 3)} ${digits.slice(3)}`;
}

/** Seals what is for the host, and opens what comes from it. Any message that does not open is the end of it. */
export class SealedChannel {
  #server;
  #session;
  #entry;
  #hostKey;
  #sending = Promise.resolve();
  /** What the digits hang on, until the host has shown its number. @type {{ commitment: string, secrets: Bytes[] } | null} */
  #lobby = null;

  /**
   * @param {Server} server
   * @param {Entry} entry
   * @param {Bytes} hostKey
   * @param {Keys} session
   * @param {Bytes} hostNonce
   * @param {Admission} first
   */
  constructor(server, entry, hostKey, session, hostNonce, first) {
    this.#server = server;
    this.#entry = entry;
    this.#hostKey = hostKey;
    this.#session = session;
    this.hostNonce = hostNonce;
    this.admission = first;
  }

  /**
   * The digits, of a host that shows its number.
   * @param {unknown} shown
   * @returns {Promise<string>}
   */
  async #digits(shown) {
    const [lobby, opening] = [this.#lobby, fromBase64(shown)];
    if (!lobby || opening?.length !== 32) throw new Failure("protocol", "no number");
    this.#lobby = null;
    if (toBase64(await commit("host", opening)) !== lobby.commitment) throw new Failure("tampered");
    return shortCode(this.hash, ...lobby.secrets, opening);
  }

  /** Of the whole handshake: the two ends of one channel have the same. */
  get hash() {
    return this.#session.hash;
  }

  /**
   * Shakes hands with the host.
   * @param {Server} server
   * @param {Entry} entry
   * @param {{ name: string, offer: string, nonce: Bytes }} hello
   * @param {(isUnproven: boolean) => void} prove told when the other side could test what we know, and when it has
   *   shown that it knows it too
   * @returns {Promise<SealedChannel>}
   */
  static async open(server, entry, { name, offer, nonce }, prove) {
    const { hostKey, psk, prologue, wrap, refused } = await basisOf(server, entry);
    const noise = await Initiator.begin(prologue, hostKey, psk, await ephemeral());
    const opening = crypto.getRandomValues(new Uint8Array(32));
    const commitment = toBase64(await commit("client", opening));
    const hello = utf8(JSON.stringify({ name, offer, nonce: toBase64(nonce), commitment }));
    const message = await noise.write(hello);
    prove(true);
    server.relay(wrap(message));

    const body = openAnswer(await server.receive(), KIND.handshake, refused);
    const { payload, session } = await noise.read(body).catch(tampered);
    prove(false);
    const welcome = json(payload);
    const hostNonce = fromBase64(welcome?.nonce);
    if (hostNonce?.length !== 32) throw new Failure("protocol", "no nonce");
    const channel = new SealedChannel(server, entry, hostKey, session, hostNonce, admission(welcome.admission));
    if (channel.admission.state === "waiting") {
      channel.send({ type: "reveal", opening: toBase64(opening) });
      channel.#lobby = { commitment: welcome.commitment, secrets: [nonce, hostNonce, opening] };
    }
    return channel;
  }

  /**
   * With what to come back, once the host has let us in.
   * @param {Ticket | null} given
   * @returns {Pass | null}
   */
  pass(given) {
    const [entry, hostKey] = [this.#entry, this.#hostKey];
    if (given) return { server: entry.server, hostKey, ticket: given };
    return "ticket" in entry ? entry : null;
  }

  /**
   * Messages go out in the order of the calls.
   * @param {object} message
   * @returns {Promise<void>} when it and all before it are on their way
   */
  send(message) {
    const sealed = this.#sending.then(() => this.#session.sealer.seal(utf8(JSON.stringify(message))));
    this.#sending = sealed.then(
      (body) => this.#server.relay(envelope(KIND.sealed, body)),
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
      const body = openSealed(await this.#server.receive());
      const plaintext = await this.#session.opener.open(body).catch(tampered);
      const message = json(plaintext);
      switch (message?.type) {
        case "admission":
          return { type: "admission", admission: admission(message) };
        case "reveal":
          // As a type that is not known, but while we wait for it.
          if (!this.#lobby) break;
          return { type: "reveal", digits: await this.#digits(message.opening) };
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
