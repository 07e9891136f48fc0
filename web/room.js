/**
 * A room, from the invite link, or its name and password, to the end; over one link after another, if one is lost. This is
 * what a program uses:
 *
 * ```js
 * import { join } from "./room.js";
 *
 * const room = await join(link, { name: "Ada" });
 * video.srcObject = room.stream;
 * for await (const reading of room.vector("telemetry")) console.log(reading);
 * ```
 * @module
 */

import { Teller } from "./events.js";
import { Failure } from "./failure.js";
import { parseInvite } from "./invite.js";
import { Session } from "./session.js";

export { namedRoom } from "./entry.js";
export { Failure } from "./failure.js";
export { parseInvite } from "./invite.js";
export { checkBrowser } from "./session.js";

/**
 * @import { Code, Entry, Pass, Wire } from "./shapes.js"
 * @import { Streams } from "./streams.js"
 */

/** How long coming back is tried, each attempt may take, and between two. */
const PATIENCE_MS = 30_000;
const ATTEMPT_MS = 10_000;
const PAUSE_MS = 1000;
/** What may be otherwise in the next attempt. @type {Code[]} */
const PASSING = ["host_vanished", "server_unreachable", "no_answer", "no_path", "unknown_room", "host_closed", "local_network"];
/** Messages about streams that wait until what reads them is loaded. */
const MAX_EARLY = 1024;

/**
 * Events: those of a {@link Session} on the way in; `playing` (`stream` may be shown, and is another than before),
 * `restarting`; `away` (the link is lost, and coming back is tried) and `back`; `announce` and `withdraw` (detail: a stream of
 * the host's); and last `end`, with a {@link Failure}, or null if we left.
 */
export class Room extends Teller {
  #name;
  #patience;
  /** @type {Session} */
  #session;
  /** @type {Pass | null} */
  #pass = null;
  /** When we give up coming back. @type {ReturnType<typeof setTimeout> | null} */
  #away = null;
  #isOver = false;
  /** @type {Streams | null} */
  #streams = null;
  /** @type {Wire | null} */
  #wire = null;
  /** @type {ArrayBuffer[]} */
  #early = [];

  /**
   * Begins; listeners that are added at once miss nothing.
   * @param {Entry} entry an invitation, `namedRoom(…)`, or another room's `pass`
   * @param {{ name?: string, patience?: number }} [options] what the host calls us; how long coming back is tried,
   *   milliseconds
   */
  constructor(entry, { name = "", patience = PATIENCE_MS } = {}) {
    super();
    this.#name = name;
    this.#patience = patience;
    this.#session = this.#visit(entry);
  }

  /** The video; null while there is none. */
  get stream() {
    return this.#session.stream;
  }

  /** Figures of the video; null before `connecting`. */
  get figures() {
    return this.#session.figures;
  }

  /** Whether the other side could test a secret of ours, and has not shown that it knows it. */
  get isUnproven() {
    return !this.pass && this.#session.isUnproven;
  }

  /** With what to join again while the stream lives; null before `connecting`. It is a secret. */
  get pass() {
    return this.#session.pass ?? this.#pass;
  }

  leave() {
    this.#end(null);
  }

  /** A stream of single items, as soon as the host has it. @type {Streams["vector"]} */
  vector = (name, options) => this.#loaded.vector(name, options);

  /** A map of the host's, as soon as it has it. @type {Streams["map"]} */
  map = (name) => this.#loaded.map(name);

  /** A stream of ours for the host. @type {Streams["publish"]} */
  publish = (name, options) => this.#loaded.publish(name, options);

  /** What the host has announced. @type {Streams["list"]} */
  streams = () => this.#loaded.list();

  get #loaded() {
    if (!this.#streams) throw new Error("load() first");
    return this.#streams;
  }

  /** Loads what streams need. {@link join} has done so. */
  async load() {
    const { Streams } = await import("./streams.js");
    if (this.#streams) return;
    this.#streams = new Streams((type, stream) => this.tell(type, stream));
    if (this.#wire) this.#streams.connect(this.#wire);
    for (const message of this.#early.splice(0)) this.#streams.receive(message);
    if (this.#isOver) this.#streams.end(null);
  }

  /** @param {Entry} entry */
  #visit(entry) {
    const session = new Session(entry, this.#name);
    // The path may have died on the way.
    if (this.#away) setTimeout(() => this.#away && session.leave(new Failure("no_answer")), ATTEMPT_MS);
    for (const step of ["entering", "asking", "waiting", "connecting", "restarting"]) {
      session.on(step, (detail) => this.#away || this.tell(step, detail));
    }
    session.on("playing", () => this.#playing());
    session.on("ready", (wire) => {
      this.#wire = wire;
      this.#streams?.connect(wire);
    });
    session.on("stream", (message) => this.#receive(message));
    session.on("end", (failure) => this.#lost(failure));
    return session;
  }

  #playing() {
    const wasAway = this.#away;
    clearTimeout(wasAway ?? undefined);
    this.#away = null;
    if (wasAway) this.tell("back");
    this.tell("playing");
  }

  /** @param {ArrayBuffer} message */
  #receive(message) {
    if (this.#streams) return this.#streams.receive(message);
    if (this.#early.length < MAX_EARLY) this.#early.push(message);
    this.load().catch(console.debug);
  }

  /** The session is over. @param {Failure | null} failure */
  #lost(failure) {
    this.#pass = this.pass;
    [this.#wire, this.#early] = [null, []];
    this.#streams?.disconnect();
    if (this.#isOver) return;
    const pass = this.#pass;
    const isPassing = failure && PASSING.includes(failure.code);
    if (isPassing && pass && this.#away) {
      setTimeout(() => this.#away && (this.#session = this.#visit(pass)), PAUSE_MS);
    } else if (failure?.code === "host_vanished" && pass && this.#patience > 0) {
      this.#away = setTimeout(() => this.#end(failure), this.#patience);
      this.tell("away");
      this.#session = this.#visit(pass);
    } else {
      this.#end(failure);
    }
  }

  /** @param {Failure | null} failure */
  #end(failure) {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#away ?? undefined);
    this.#away = null;
    this.#session.leave();
    this.#streams?.end(failure);
    this.tell("end", failure);
  }
}

/**
 * Becomes a room once its link is up.
 * @param {string | Entry} link an invite link, or `namedRoom(…)`, or another room's `pass`
 * @param {{ name?: string, patience?: number }} [options] as those of a {@link Room}
 * @returns {Promise<Room>}
 * @throws {Failure}
 */
export async function join(link, options) {
  const room = new Room(typeof link === "string" ? parseInvite(link) : link, options);
  const up = new Promise((resolve, reject) => {
    room.on("playing", resolve);
    room.on("end", reject);
  });
  await Promise.all([up, room.load()]).catch((error) => {
    room.leave();
    throw error;
  });
  return room;
}
