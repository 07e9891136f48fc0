/**
 * What the host has announced, and what we have of it: docs/rtsmp.md, section 5.
 * @module
 */

import { nowUs } from "./clock.js";
import { Loose } from "./fragments.js";
import { Queue } from "./queue.js";
import { Reliable } from "./reliable.js";
import { KIND, MAX_STREAMS, write } from "./rtsmp.js";

/**
 * @import { ClockSync } from "./clock.js"
 * @import { Announcement, Bytes, Control, EndReason, Fragment, Frame, Message } from "./shapes.js"
 */

/** How long after an item was taken the host is told at the latest. */
const TELL_MS = 50;
/** After so long over a new link, what has not been announced again is not there any more, if the host does not say so. */
const FORGET_MS = 5000;
/** Messages that wait for the link. A host that brings about more without taking them gets none. */
const MAX_MESSAGES = 4 * MAX_STREAMS;

/**
 * Where a stream's frames go.
 * @typedef {object} Sink
 * @property {(frames: number) => void} began something lies between, or all is new; so many frames of a snapshot follow
 * @property {(frame: Frame, format: string, untilUs: number, taken: () => void) => void} frame
 * @property {(frame: Frame, isLast: boolean) => void} snapshot
 * @property {(reason: EndReason | null) => void} end null: the room is over
 * @property {{ lost: number, late: number }} counts
 */

/** A stream that is wanted. */
class Wish {
  #window;
  /** The host's stream, by its number and its run; stays over a link that is lost. @type {{ stream: number, run: number } | null} */
  #source = null;
  #isOn = false;
  #format = "";
  #reliable;
  /** @type {{ loose: Loose, deadlineUs: number } | null} */
  #live = null;

  /**
   * @param {number} kind
   * @param {string} name
   * @param {number} window
   * @param {Sink} sink
   */
  constructor(kind, name, window, sink) {
    this.kind = kind;
    this.name = name;
    this.tag = 0;
    this.sink = sink;
    this.#window = window;
    this.#reliable = new Reliable(window, kind === KIND.map);
  }

  /** The number of the stream that it is subscribed to. */
  get stream() {
    return this.#isOn ? (this.#source?.stream ?? null) : null;
  }

  get isPressing() {
    return this.#reliable.isPressing;
  }

  /** @param {{ kind: number, name: string }} stream */
  isFor({ kind, name }) {
    return kind === this.kind && name === this.name;
  }

  /**
   * @param {number} stream
   * @param {Announcement} announcement
   * @param {number} tag by which answers to this are known from those to earlier ones
   * @returns {Control} with which it is subscribed
   */
  begin(stream, { run, mode, format }, tag) {
    this.tag = tag;
    const isSame = this.#source?.stream === stream && this.#source.run === run;
    [this.#source, this.#isOn, this.#format] = [{ stream, run }, true, format];
    if (mode === "reliable") {
      this.#live = null;
      return { type: "subscribe", stream, tag, ...this.#reliable.subscribe(isSame) };
    }
    const newest = isSame ? this.#live?.loose.newest : 0;
    this.#live = { loose: new Loose(this.#window, newest), deadlineUs: mode.realTime * 1000 };
    return { type: "subscribe", stream, tag, number: 0, window: this.#window };
  }

  /** The link is lost. */
  pause() {
    this.#isOn = false;
  }

  /** The host does not have it any more. */
  forget() {
    [this.#source, this.#isOn] = [null, false];
  }

  /**
   * @param {number} next
   * @param {number} frames
   */
  began(next, frames) {
    if (!this.#live && this.#reliable.began(next, frames)) this.sink.began(frames);
  }

  /**
   * @param {Fragment} fragment
   * @param {ClockSync | null} clock
   * @param {() => void} tell called when an item was taken
   * @throws {Error} if it makes no sense
   */
  push(fragment, clock, tell) {
    if (this.#live) return this.#pushLive(fragment, clock);
    if (this.#reliable.isSnapshot(fragment)) {
      const part = this.#reliable.pushSnapshot(fragment);
      return part && this.sink.snapshot(part.frame, part.isLast);
    }
    const whole = this.#reliable.push(fragment);
    if (!whole) return;
    this.sink.frame(whole.frame, this.#format, Infinity, () => {
      whole.taken();
      tell();
    });
  }

  /**
   * @param {Fragment} fragment
   * @param {ClockSync | null} clock
   */
  #pushLive(fragment, clock) {
    if (!this.#live) return;
    const { loose, deadlineUs } = this.#live;
    const before = loose.newest;
    const frame = loose.push(fragment);
    if (!frame) return;
    const { counts } = this.sink;
    if (before > 0) counts.lost += frame.number - before - 1;
    const now = nowUs();
    const age = clock?.ageUs(frame.capturedUs, now) ?? Infinity;
    if (age > deadlineUs) counts.late += 1;
    else this.sink.frame(frame, this.#format, now + deadlineUs - Math.max(age, 0), () => {});
  }

  /** What the host is to be told of what was taken. @returns {Control | null} */
  tell() {
    const { stream } = this;
    const told = stream === null || this.#live ? null : this.#reliable.tell();
    return told && stream !== null ? { type: "consumed", stream, ...told } : null;
  }
}

/** The host's streams. */
export class Subscriber {
  /** By number; `isHere`: over this link. @type {Map<number, { announcement: Announcement, isHere: boolean }>} */
  #remote = new Map();
  /** @type {Set<Wish>} */
  #wishes = new Set();
  /** @type {Queue<Bytes>} */
  #messages = new Queue();
  /** Of the newest subscription. */
  #tag = 0;
  /** Whether the host may have to be told what was taken. */
  #owes = false;
  /** @type {ClockSync | null} */
  #clock = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #telling;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #forgetting;
  #tell;
  #stir;
  /** Announcements that were too many. */
  ignored = 0;

  /**
   * @param {(type: "announce" | "withdraw", announcement: Announcement) => void} tell
   * @param {() => void} stir called when there is something to send
   */
  constructor(tell, stir) {
    this.#tell = tell;
    this.#stir = stir;
  }

  /** @returns {Announcement[]} */
  get announced() {
    return Array.from(this.#remote.values(), ({ announcement }) => announcement);
  }

  /** @param {ClockSync} clock the host's, over a new link */
  join(clock) {
    this.#clock = clock;
    this.#forgetting = setTimeout(() => this.#forget(), FORGET_MS);
  }

  /** What has not been announced again was withdrawn meanwhile. */
  #forget() {
    clearTimeout(this.#forgetting);
    for (const [stream, { isHere }] of this.#remote) if (!isHere) this.#withdraw(stream);
  }

  lost() {
    this.#clock = null;
    clearTimeout(this.#telling);
    clearTimeout(this.#forgetting);
    this.#telling = undefined;
    [this.#messages, this.#owes] = [new Queue(), false];
    for (const remote of this.#remote.values()) remote.isHere = false;
    // A host that never has told all is not believed to have more than others may.
    for (const stream of [...this.#remote.keys()].slice(0, -MAX_STREAMS)) this.#withdraw(stream);
    for (const wish of this.#wishes) wish.pause();
  }

  /** The room is over. */
  end() {
    this.lost();
    for (const { sink } of this.#wishes) sink.end(null);
    this.#wishes.clear();
  }

  /** Whether the link takes less than the host brings about. */
  get isFull() {
    return this.#messages.length > MAX_MESSAGES;
  }

  /** The next message. */
  poll() {
    return this.#messages.shift() ?? this.#owed();
  }

  /**
   * @param {number} kind
   * @param {string} name
   */
  has(kind, name) {
    return [...this.#wishes].some((wish) => wish.isFor({ kind, name }));
  }

  /**
   * Subscribes to a stream, as soon as it is there.
   * @param {number} kind
   * @param {string} name
   * @param {number} window
   * @param {Sink} sink
   * @returns {() => void} ends it
   */
  subscribe(kind, name, window, sink) {
    const wish = new Wish(kind, name, window, sink);
    this.#wishes.add(wish);
    for (const [stream, { announcement, isHere }] of this.#remote) {
      if (isHere && wish.isFor(announcement)) this.#begin(wish, stream, announcement);
    }
    return () => {
      if (this.#wishes.delete(wish) && wish.stream !== null) this.#send({ type: "unsubscribe", stream: wish.stream });
    };
  }

  /** @param {Wish} wish @param {number} stream @param {Announcement} announcement */
  #begin(wish, stream, announcement) {
    this.#tag = (this.#tag + 1) & 0xff;
    this.#send(wish.begin(stream, announcement, this.#tag));
  }

  /** @param {Control} message */
  #send(message) {
    this.#messages.push(write(message));
    this.#stir();
  }

  /** Something was taken: the host is told soon. @param {Wish} wish */
  #taken(wish) {
    if (wish.isPressing) this.#tellAll();
    else this.#telling ??= setTimeout(() => this.#tellAll(), TELL_MS);
  }

  #tellAll() {
    clearTimeout(this.#telling);
    this.#telling = undefined;
    this.#owes = true;
    this.#stir();
  }

  /** What the host is to be told of what was taken. However late that is sent, it is as things are then. */
  #owed() {
    if (!this.#owes) return null;
    for (const wish of this.#wishes) {
      const message = wish.tell();
      if (message) return write(message);
    }
    this.#owes = false;
    return null;
  }

  /**
   * Takes what the host says as a publisher.
   * @param {Message} message
   * @throws {Error} if it makes no sense
   */
  receive(message) {
    if (message.type === "announce") return this.#announce(message.stream, message.announcement);
    if (message.type === "withdraw") return this.#withdraw(message.stream);
    if (message.type === "all_told") return this.#forget();
    for (const wish of [...this.#wishes].filter(({ stream }) => stream === message.stream)) {
      if ("tag" in message && message.tag !== wish.tag) continue;
      if (message.type === "ended") return this.#end(wish, message.reason);
      try {
        if (message.type === "fragment") wish.push(message, this.#clock, () => this.#taken(wish));
        if (message.type === "began") {
          wish.began(message.number, message.snapshot);
          // What was taken meanwhile has made a place.
          this.#taken(wish);
        }
      } catch (error) {
        this.#send({ type: "unsubscribe", stream: message.stream });
        this.#end(wish, "protocol");
        throw error;
      }
    }
  }

  /**
   * @param {Wish} wish
   * @param {EndReason} reason
   */
  #end(wish, reason) {
    this.#wishes.delete(wish);
    wish.sink.end(reason);
  }

  /**
   * @param {number} stream
   * @param {Announcement} announcement
   */
  #announce(stream, announcement) {
    const { kind, name, run } = announcement;
    const known = this.#remote.get(stream)?.announcement;
    const isSame = known?.kind === kind && known.name === name && known.run === run;
    if (known && !isSame) this.#withdraw(stream);
    const others = [...this.#remote].filter(([other]) => other !== stream);
    const twin = others.find(([, { announcement: other }]) => other.kind === kind && other.name === name);
    // Of an earlier run, and not there any more.
    if (twin && !twin[1].isHere) this.#withdraw(twin[0]);
    if (twin?.[1].isHere || others.filter(([, { isHere }]) => isHere).length >= MAX_STREAMS) {
      this.ignored += 1;
      return;
    }
    this.#remote.set(stream, { announcement, isHere: true });
    if (!isSame) this.#tell("announce", announcement);
    for (const wish of this.#wishes) {
      if (wish.isFor(announcement) && wish.stream !== stream) this.#begin(wish, stream, announcement);
    }
  }

  /** @param {number} stream */
  #withdraw(stream) {
    const remote = this.#remote.get(stream);
    this.#remote.delete(stream);
    for (const wish of this.#wishes) if (wish.stream === stream) wish.forget();
    if (remote) this.#tell("withdraw", remote.announcement);
  }
}
