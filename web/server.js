/**
 * The connection to the rendezvous server: docs/rendezvous.md, sections 2, 5 and 6.
 * @module
 */

import { fromBase64, toBase64 } from "./bytes.js";
import { Failure } from "./failure.js";
import { WIRE_VERSION } from "./invite.js";

/** @import { Bytes, Code, Place, ServerMessage } from "./shapes.js" */

const PATH = "/v1/rendezvous";
const MAX_MESSAGE = 65_536;
/** Messages that may wait to be read. */
const MAX_WAITING = 256;
const CONNECT_MS = 10_000;

/** @type {Code[]} */
const REFUSALS = ["unknown_room", "room_full", "version"];

/**
 * @param {string} text
 * @returns {ServerMessage | null} null for what makes no sense
 */
function parse(text) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return null;
  }
  switch (message?.type) {
    case "entered": {
      const port = message.stun_port;
      return Number.isInteger(port) && port >= 0 && port <= 65_535 ? { type: "entered", stunPort: port } : null;
    }
    case "relay": {
      const blob = fromBase64(message.blob);
      return blob && { type: "relay", blob };
    }
    case "closed":
    case "dismissed":
      return { type: message.type };
    case "refused":
      return { type: "refused", reason: String(message.reason) };
    default:
      return null;
  }
}

/** A client's place in a room. Messages are read one by one, in their order. */
export class Server {
  #socket;
  /** @type {string[]} */
  #waiting = [];
  /** @type {(() => void) | null} */
  #wake = null;
  #isClosed = false;

  /** @param {WebSocket} socket */
  constructor(socket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      const isTooMuch = data.length > MAX_MESSAGE || this.#waiting.length >= MAX_WAITING;
      if (typeof data !== "string" || isTooMuch) return this.close();
      this.#waiting.push(data);
      this.#wake?.();
    };
    socket.onclose = () => {
      this.#isClosed = true;
      this.#wake?.();
    };
  }

  /**
   * @param {string} base its URL
   * @returns {Promise<Server>}
   * @throws {Failure} `server_unreachable`
   */
  static connect(base) {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(base.replace(/^http/, "ws") + PATH);
      const fail = () => {
        socket.close();
        reject(new Failure("server_unreachable"));
      };
      const timer = setTimeout(fail, CONNECT_MS);
      socket.onerror = fail;
      socket.onopen = () => {
        clearTimeout(timer);
        socket.onerror = null;
        resolve(new Server(socket));
      };
    });
  }

  /**
   * Enters a room; answers the server's STUN port, 0 if it has none.
   * @param {Place} place
   * @returns {Promise<number>}
   */
  async enter(place) {
    const which = "room" in place ? { room: toBase64(place.room) } : place;
    this.#send({ type: "enter", version: WIRE_VERSION, ...which });
    const answer = await this.next();
    if (answer?.type === "entered") return answer.stunPort;
    throw Server.#ending(answer);
  }

  /** @param {Bytes} blob for the host */
  relay(blob) {
    this.#send({ type: "relay", blob: toBase64(blob) });
  }

  /**
   * The next blob from the host.
   * @returns {Promise<Bytes>}
   * @throws {Failure} when none can follow
   */
  async receive() {
    const message = await this.next();
    if (message?.type === "relay") return message.blob;
    throw Server.#ending(message);
  }

  /**
   * The next message; null when the connection is over.
   * @returns {Promise<ServerMessage | null>}
   */
  async next() {
    while (this.#waiting.length === 0 && !this.#isClosed) {
      await new Promise((resolve) => (this.#wake = () => resolve(null)));
      this.#wake = null;
    }
    const text = this.#waiting.shift();
    if (text === undefined) return null;
    const message = parse(text);
    if (!message) throw new Failure("server");
    return message;
  }

  get isClosed() {
    return this.#isClosed;
  }

  close() {
    this.#isClosed = true;
    this.#socket.close();
    this.#wake?.();
  }

  /** @param {object} message */
  #send(message) {
    if (!this.#isClosed) this.#socket.send(JSON.stringify(message));
  }

  /**
   * Why a message is the last one.
   * @param {ServerMessage | null} message
   * @returns {Failure}
   */
  static #ending(message) {
    switch (message?.type) {
      case "refused":
        return new Failure(REFUSALS.find((code) => code === message.reason) ?? "refused", message.reason);
      case "closed":
        return new Failure("host_closed");
      case "dismissed":
        return new Failure("kicked");
      case undefined:
        return new Failure("server_unreachable", "the connection broke");
      default:
        return new Failure("server", `unexpected: ${message?.type}`);
    }
  }
}
