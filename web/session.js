/**
 * One visit to a room, over one link: from the invite link, or the room's name and password, to the end. Programs use
 * `room.js`, which comes back when a link is lost.
 * @module
 */

import { Binding } from "./binding.js";
import { placeOf } from "./entry.js";
import { Teller } from "./events.js";
import { Failure } from "./failure.js";
import { Figures } from "./figures.js";
import { Link, codecs } from "./link.js";
import { SealedChannel } from "./sealed.js";
import { Server } from "./server.js";

/** @import { Entry, Pass } from "./shapes.js" */

/** How long a host may take to answer an offer of a new path. */
const RESTART_MS = 5000;
/** How often a page that waits says so. */
const ALIVE_MS = 30_000;
/** From the start until the host answers. */
const WELCOME_MS = 15_000;
const MAX_NAME_BYTES = 64;

/** @param {string} server base URL @param {number} port @returns {string | null} */
function stunUrl(server, port) {
  return port === 0 ? null : `stun:${new URL(server).hostname}:${port}`;
}

/** @param {string} name */
function shortened(name) {
  let short = name.trim();
  while (new TextEncoder().encode(short).length > MAX_NAME_BYTES) short = Array.from(short).slice(0, -1).join("");
  return short;
}

async function noPath() {
  const told = async () => (await import("./permissions.js")).noPath();
  const slow = new Promise((resolve) => setTimeout(resolve, 1000));
  return (await Promise.race([told(), slow]).catch(() => null)) ?? new Failure("no_path");
}

/** What a browser must have. @throws {Failure} */
export async function checkBrowser() {
  if (!globalThis.isSecureContext) throw new Failure("insecure");
  if (!("RTCPeerConnection" in globalThis)) throw new Failure("unsupported", "it has no WebRTC");
  codecs();
  await crypto.subtle.generateKey("X25519", false, ["deriveBits"]).catch(() => {
    throw new Failure("unsupported", "it has no X25519");
  });
}

/**
 * One visit to a room. Events, in this order: `entering`, `asking`, `waiting` (the host has to let us in; detail: digits
 * that it sees too), `connecting`, `playing` (`stream` may be shown), `ready` and `stream` (as those of {@link Link}),
 * `restarting` and `playing` again, and last `end` with a {@link Failure}, or null if we left.
 */
export class Session extends Teller {
  #entry;
  #name;
  /** @type {Server | null} */
  #server = null;
  /** @type {Link | null} */
  #link = null;
  /** @type {Figures | null} */
  #figures = null;
  #isOver = false;
  #isUnproven = false;
  /** @type {Pass | null} */
  #pass = null;
  /** @type {SealedChannel | null} */
  #channel = null;
  /** When the last offer of a new path was made that the host has not answered. */
  #offeredAt = -Infinity;

  /**
   * Begins; listeners that are added at once miss nothing.
   * @param {Entry} entry an invitation, `namedRoom(…)`, or an earlier session's `pass`
   * @param {string} name what the host calls us
   */
  constructor(entry, name) {
    super();
    this.#entry = entry;
    this.#name = shortened(name) || "Somebody";
    queueMicrotask(() => this.#run().catch((error) => this.#end(Failure.of(error))));
  }

  /** The video; null before `playing`. @returns {MediaStream | null} */
  get stream() {
    return this.#link?.isUp && !this.#isOver ? new MediaStream([this.#link.receiver.track]) : null;
  }

  /** Figures of the stream; null before `connecting`. */
  get figures() {
    return this.#figures;
  }

  /** As that of a `Room`. */
  get isUnproven() {
    return this.#isUnproven;
  }

  /** As that of a `Room`. */
  get pass() {
    return this.#pass;
  }

  /** @param {Failure | null} failure null if it is meant */
  leave(failure = null) {
    this.#end(failure);
  }

  async #run() {
    await checkBrowser();
    const slow = setTimeout(() => this.#end(new Failure("no_answer")), WELCOME_MS);
    try {
      await this.#enter();
    } finally {
      clearTimeout(slow);
    }
  }

  /** Until the host has answered. */
  async #enter() {
    this.#tell("entering");
    const server = await Server.connect(this.#entry.server);
    this.#server = server;
    if (this.#isOver) return server.close();
    const stun = stunUrl(this.#entry.server, await server.enter(placeOf(this.#entry)));
    this.#tell("asking");
    const link = new Link(stun);
    this.#link = link;
    this.#figures = new Figures(link);
    const nonce = crypto.getRandomValues(new Uint8Array(32));
    /** @type {string[]} */
    const early = [];
    const keep = (/** @type {Event} */ event) => early.push(/** @type {CustomEvent<string>} */ (event).detail);
    link.addEventListener("candidate", keep);
    const hello = { name: this.#name, offer: await link.offer(), nonce };
    const channel = await SealedChannel.open(server, this.#entry, hello, (is) => (this.#isUnproven = is));
    this.#channel = channel;
    if (this.#isOver) return;
    link.removeEventListener("candidate", keep);
    const trickle = (/** @type {string} */ candidate) => channel.send({ type: "candidate", candidate });
    early.forEach(trickle);
    this.#follow(link, channel, trickle);
    const binding = await Binding.of(channel.hash, nonce, channel.hostNonce);
    this.#listen(link, channel, binding).catch((error) => this.#end(Failure.of(error)));
  }

  /** @param {Link} link @param {SealedChannel} channel @param {(candidate: string) => void} trickle */
  #follow(link, channel, trickle) {
    link.on("candidate", trickle);
    link.on("up", () => this.#tell("playing"));
    link.on("ready", (wire) => this.#tell("ready", wire));
    link.on("stream", (message) => this.#tell("stream", message));
    link.on("restart", () => this.#restart(link, channel).catch(console.debug));
    link.on("path", () => this.#tell("playing"));
    link.on("down", async (failure) => this.#end(failure.code === "no_path" ? await noPath() : failure));
  }

  /** @param {Link} link @param {SealedChannel} channel */
  async #restart(link, channel) {
    const now = performance.now();
    if (now < this.#offeredAt + RESTART_MS || this.#server?.isClosed) return;
    this.#offeredAt = now;
    this.#tell("restarting");
    channel.send({ type: "restart", offer: await link.restart() });
  }

  /**
   * What the host says, as long as the server is there.
   * @param {Link} link
   * @param {SealedChannel} channel
   * @param {Binding} binding
   */
  async #listen(link, channel, binding) {
    let { admission } = channel;
    const alive = setInterval(() => channel.send({ type: "alive" }), ALIVE_MS);
    const slow = setTimeout(() => this.#end(new Failure("no_answer")), WELCOME_MS);
    try {
      while (admission.state === "waiting") {
        const message = await channel.receive();
        if (message.type === "part") throw message.failure;
        clearTimeout(slow);
        if (message.type === "reveal") this.#tell("waiting", message.digits);
        if (message.type === "admission") admission = message.admission;
      }
    } finally {
      clearInterval(alive);
      clearTimeout(slow);
    }
    this.#pass = channel.pass(admission.ticket);
    this.#tell("connecting");
    await link.accept(admission.answer, binding);
    while (!this.#isOver) {
      const message = await channel.receive().catch((error) => {
        if (Failure.of(error).code === "protocol") throw error;
        return null;
      });
      // From here on the link does without the server.
      if (!message) return this.#server?.close();
      if (message.type === "part") throw message.failure;
      if (message.type === "candidate") await link.addCandidate(message.candidate);
      if (message.type === "restarted") await this.#restarted(link, message.answer);
    }
  }

  /** @param {Link} link @param {string} answer */
  async #restarted(link, answer) {
    this.#offeredAt = -Infinity;
    await link.acceptRestart(answer).catch((error) => {
      if (Failure.of(error).code === "tampered") throw error;
      // The path may come back without it.
      console.debug(error);
    });
  }

  /** @param {string} type @param {unknown} [detail] */
  #tell(type, detail) {
    if (!this.#isOver) this.tell(type, detail);
  }

  /** @param {Failure | null} failure */
  #end(failure) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#figures?.stop();
    this.#link?.close();
    this.#part(failure);
    this.tell("end", failure);
  }

  /**
   * Tells the host that we leave, so that it keeps no place for us.
   * @param {Failure | null} failure
   */
  #part(failure) {
    const server = this.#server;
    const reason = failure === null ? "client_left" : failure.code === "protocol" && "protocol";
    if (!reason || !this.#channel || server?.isClosed) return server?.close();
    this.#channel.send({ type: "part", reason }).then(() => server?.close());
  }
}
