/** A host for tests: it publishes and subscribes as docs/rtsmp.md says, looks at what a client may do, and loses links. */

import assert from "node:assert/strict";

import { Decoder, encode } from "../cbor.js";
import { InOrder } from "../fragments.js";
import { SNAPSHOT, cost, cut, parse, write } from "../rtsmp.js";
import { Streams } from "../streams.js";
import { hex, settled } from "./support.js";

/** The client's end of a channel. */
export class Channel {
  readyState = "open";
  bufferedAmountLowThreshold = 0;
  onbufferedamountlow = null;
  onopen = null;
  bufferedAmount = 0;
  most = 0;
  messages = [];

  send(message) {
    assert.equal(this.readyState, "open");
    this.messages.push(message);
    this.bufferedAmount += message.length;
    this.most = Math.max(this.most, this.bufferedAmount);
  }

  /** The oldest message has left. */
  take() {
    const message = this.messages.shift();
    if (!message) return null;
    const before = this.bufferedAmount;
    this.bufferedAmount -= message.length;
    const low = this.bufferedAmountLowThreshold;
    if (before > low && this.bufferedAmount <= low) this.onbufferedamountlow?.();
    return message.slice().buffer;
  }
}

/** A reliable stream of the host's: frames until they are consumed. */
class Log {
  first = 1;
  frames = [];
  cursor = null;
  tag = 0;
  /** What the client had when its link was lost. */
  kept = null;

  get next() {
    return this.first + this.frames.length;
  }

  push(payload) {
    this.frames.push(payload);
  }

  subscribe(from, window) {
    assert.ok(from <= this.next, "nobody asks for what never was");
    if (from > 0 && from < this.first) return { reason: "gone" };
    // It may have lost its link before it heard where it began.
    const again = this.kept && this.kept.consumed + 1 === this.kept.start ? this.kept.start : this.next;
    const next = from > 0 ? from : again;
    this.begin(next, window);
    this.free();
    return { next, snapshot: 0 };
  }

  begin(next, window) {
    this.cursor = { start: next, next, offset: 0, consumed: next - 1, sent: [], underWay: 0, window };
    this.kept = null;
  }

  lost() {
    this.kept = this.cursor ?? this.kept;
    this.cursor = null;
  }

  consumed(number, window) {
    const { cursor } = this;
    if (!cursor) return;
    assert.ok(number < cursor.next, "nobody has taken what was not sent");
    if (number < cursor.consumed) return;
    for (const counts of cursor.sent.splice(0, number - cursor.consumed)) cursor.underWay -= counts;
    [cursor.consumed, cursor.window] = [number, window];
    this.free();
  }

  free() {
    const { consumed } = this.cursor;
    this.frames.splice(0, consumed + 1 - this.first);
    this.first = Math.max(this.first, consumed + 1);
  }

  step(stream) {
    const { cursor } = this;
    const payload = cursor && this.frames[cursor.next - this.first];
    if (!payload) return null;
    if (cursor.offset === 0) {
      const fits = cursor.underWay === 0 ? cursor.window > 0 : cursor.underWay + cost(payload) <= cursor.window;
      if (!fits) return null;
      cursor.sent.push(cost(payload));
      cursor.underWay += cost(payload);
    }
    // Shorter than on the wire, so that links are lost between fragments too.
    const [message, end] = cut({ stream, number: cursor.next, capturedUs: 0 }, payload, cursor.offset, 700);
    cursor.offset = end;
    if (end === payload.length) [cursor.next, cursor.offset] = [cursor.next + 1, 0];
    return message;
  }
}

/** A map of the host's: it keeps few changes. */
class MapLog extends Log {
  /** Key and value as they are coded, by the key in hexadecimal. */
  entries = new Map();
  keeps = 5;
  snapshot = null;

  change(payload) {
    const decoder = new Decoder(payload);
    while (!decoder.isAtEnd) {
      const [key, value] = decoder.nextArray();
      if (!key) this.entries.clear();
      else if (value) this.entries.set(hex(key.bytes), [key.value, value.value]);
      else this.entries.delete(hex(key.bytes));
    }
    this.push(payload);
    while (this.frames.length > this.keeps) {
      this.frames.shift();
      this.first += 1;
    }
  }

  free() {}

  lost() {
    super.lost();
    this.snapshot = null;
  }

  subscribe(from, window) {
    this.begin(from, window);
    this.snapshot = null;
    return from >= this.first ? { next: from, snapshot: 0 } : {};
  }

  step(stream) {
    if (!this.cursor) return null;
    if (this.snapshot?.length > 0) {
      const [number, payload] = this.snapshot.shift();
      return cut({ stream, number, flags: SNAPSHOT, capturedUs: 0 }, payload, 0, 16384)[0];
    }
    if (this.cursor.next >= this.first && this.cursor.next > 0) return super.step(stream);
    const entries = [...this.entries.values()];
    const halves = [entries.slice(0, entries.length / 2), entries.slice(entries.length / 2)].filter((half) => half.length > 0);
    this.snapshot = halves.map((half, i) => [i + 1, Buffer.concat(half.map((entry) => encode(entry)))]);
    this.begin(this.next, 0);
    return write({ type: "began", stream, number: this.next, snapshot: halves.length, tag: this.tag });
  }
}

/** A stream of the client's that the host subscribes to. */
class Taken {
  due = 0;
  told = 0;
  payloads = [];

  constructor(announcement, stream, window) {
    Object.assign(this, { announcement, stream, window });
  }
}

/** The host, the client's streams, and the link between them. */
export class Net {
  logs = new Map();
  client;
  wire = null;
  down = [];
  taken = new Map();
  told = [];
  clock;
  /** How much of the client's the host is ready to hold. */
  window = 2000;

  constructor(clock = { ageUs: () => 0 }) {
    this.clock = clock;
    this.client = new Streams((type, stream) => this.told.push(`${type} ${stream.kind} ${stream.name}`));
  }

  publish(stream, kind, name, { run = 5, mode = "reliable", format = "bytes", log = kind === 2 ? new MapLog() : new Log() } = {}) {
    const announcement = { run, kind, mode, name, format, of: null };
    this.logs.set(stream, { announcement, log });
    this.say({ type: "announce", stream, announcement });
    return log;
  }

  withdraw(stream) {
    this.logs.delete(stream);
    this.say({ type: "withdraw", stream });
  }

  /** Drops what was not sent; how much the client can hold besides is to be heard first. */
  clear(stream) {
    const { log } = this.logs.get(stream);
    [log.first, log.frames] = [log.next, []];
    log.begin(log.next, 0);
    this.say({ type: "began", stream, number: log.next, snapshot: 0, tag: log.tag });
  }

  say(message) {
    if (this.wire) this.down.push(write(message));
  }

  join() {
    this.wire = { streams: new Channel(), live: new Channel(), clock: this.clock };
    for (const [stream, { announcement }] of this.logs) this.say({ type: "announce", stream, announcement });
    this.client.connect(this.wire);
  }

  lose() {
    this.client.disconnect();
    [this.wire, this.down] = [null, []];
    for (const { log } of this.logs.values()) log.lost();
  }

  /** Carries at most so many messages each way. */
  async carry(most = Infinity) {
    for (let i = 0; i < most && this.wire; i += 1) {
      await settled();
      const up = this.wire?.streams.take();
      const down = this.next();
      if (!up && !down) return;
      if (down) this.client.receive(down.slice().buffer);
      if (up) this.receive(parse(up));
    }
    await settled();
  }

  next() {
    const message = this.down.shift();
    if (message) return message;
    for (const [stream, { log }] of this.logs) {
      const frame = log.step(stream);
      if (frame) return frame;
    }
    return null;
  }

  receive(message) {
    const { type, stream, number, window, tag } = message;
    const log = this.logs.get(stream)?.log;
    if (type === "subscribe" && !log) this.say({ type: "ended", stream, reason: "refused", tag });
    else if (type === "subscribe") {
      log.tag = tag;
      const { next, snapshot, reason } = log.subscribe(number, window);
      if (reason) this.say({ type: "ended", stream, reason, tag });
      else if (next) this.say({ type: "began", stream, number: next, snapshot, tag });
    }
    if (type === "unsubscribe" && log) log.cursor = null;
    if (type === "consumed") log?.consumed(number, window);
    if (type === "announce") this.announced(stream, message.announcement);
    if (type === "withdraw") this.taken.delete(stream);
    if (type === "ended") assert.fail(`the client ended stream ${stream}: ${message.reason}`);
    if (type === "began") this.began(this.taken.get(stream), number);
    if (type === "fragment") this.fragment(this.taken.get(stream), message);
  }

  announced(stream, announcement) {
    const before = this.taken.get(stream);
    assert.ok(!before || before.announcement.run === announcement.run);
    const taken = before ?? new Taken(announcement, stream, this.window);
    this.taken.set(stream, taken);
    if (announcement.mode !== "reliable") return;
    taken.assembly = null;
    this.say({ type: "subscribe", stream, number: taken.due, window: this.window, tag: 3 });
  }

  began(taken, number) {
    if (taken.due > 0) assert.equal(number, taken.due, "it goes on where it was");
    [taken.due, taken.told] = [number, number - 1];
    [taken.assembly, taken.start, taken.waits] = [new InOrder(number), taken.payloads.length, 0];
  }

  fragment(taken, fragment) {
    const frame = taken.assembly.push(fragment);
    assert.ok(taken.waits < this.window, "no more comes than the window allows");
    if (!frame) return;
    taken.due = frame.number + 1;
    taken.waits += cost(frame.payload);
    taken.payloads.push(frame.payload);
    const map = [...this.logs.values()].find(({ announcement: a }) => a.kind === 2 && a.name === taken.announcement.name);
    if (taken.announcement.kind === 4) map?.log.change(frame.payload);
  }

  /** The host's programs have taken all that has come from the client. */
  consume() {
    for (const taken of this.taken.values()) {
      if (!taken.assembly || taken.due - 1 <= taken.told) continue;
      [taken.told, taken.waits] = [taken.due - 1, 0];
      this.say({ type: "consumed", stream: taken.stream, number: taken.told, window: this.window });
    }
  }
}
