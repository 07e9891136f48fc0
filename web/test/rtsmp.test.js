import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Broken, InOrder, Loose } from "../fragments.js";
import { MAX_FRAME_BYTES, SNAPSHOT, cut, parse, write } from "../rtsmp.js";
import { below, bytes, hex, random } from "./support.js";

const [FIRST, LAST] = [1, 2];
const ANNOUNCEMENT = { run: 7, kind: 1, mode: { realTime: 200 }, name: "telemetry", format: "cbor", of: null };
const STREAM = 513;
const MESSAGES = [
  { type: "announce", stream: STREAM, announcement: ANNOUNCEMENT },
  { type: "announce", stream: STREAM, announcement: { ...ANNOUNCEMENT, mode: "reliable", format: "", of: "Ada" } },
  ...["withdraw", "pause", "resume", "unsubscribe"].map((type) => ({ type, stream: STREAM })),
  { type: "subscribe", stream: STREAM, number: 9, window: 65_536, tag: 7 },
  { type: "consumed", stream: STREAM, number: 3, window: 1 },
  { type: "began", stream: STREAM, number: 4, snapshot: 2, tag: 255 },
  ...["unknown", "too_slow", "gone", "refused", "protocol"].map((reason) => ({ type: "ended", stream: STREAM, reason, tag: 9 })),
];

/** A buffer of its own, as a channel gives it. */
function buffer(data) {
  return data.slice().buffer;
}

test("the vectors of the document", () => {
  const head = { stream: 1, number: 2, capturedUs: 3 };
  const hi = new TextEncoder().encode("hi");
  const found = [
    hex(cut(head, hi, 0, 16)[0]),
    hex(cut(head, hi, 0, 1)[0]),
    hex(cut(head, hi, 1, 1)[0]),
    hex(write({ type: "subscribe", stream: 1, number: 0, window: 1 << 20, tag: 7 })),
  ];
  const document = readFileSync(new URL("../../docs/rtsmp.md", import.meta.url), "utf8");
  const table = document.match(/\| Message, in hexadecimal[^]*?\n\n/)?.[0] ?? "";
  const rows = table.trim().split("\n").slice(2);
  const written = rows.map((row) => Array.from(row.split("|")[1].matchAll(/`([0-9a-f]+)`/g), ([, part]) => part).join(""));
  assert.deepEqual(found, written);
  const whole = parse(buffer(bytes(found[0])));
  assert.deepEqual([whole.number, whole.capturedUs, hex(whole.data)], [2, 3, "6869"]);
});

test("messages survive, and what a later version adds is ignored", () => {
  for (const message of MESSAGES) {
    assert.deepEqual(parse(buffer(write(message))), message);
    if (message.type === "announce") continue;
    assert.deepEqual(parse(buffer(Uint8Array.of(...write(message), 1, 2, 3))), message);
  }
  const announce = (body) => parse(buffer(Uint8Array.of(16, 0, 0, 1, 0, 0, 0, 0, ...new TextEncoder().encode(body))));
  const read = announce('{"run":7,"kind":200,"mode":"reliable","name":"x","colour":"red","of":null}').announcement;
  assert.deepEqual(read, { run: 7, kind: 200, mode: "reliable", name: "x", format: "", of: null });
  assert.equal(parse(buffer(bytes("6300000000000000"))), null);
  assert.equal(parse(buffer(write(MESSAGES[0]))).announcement.mode.realTime, 200);
  const refused = [
    "", "null", "[]", '{"run":7,"kind":1,"mode":"reliable"}', '{"run":-1,"kind":1,"mode":"reliable","name":"x"}',
    '{"run":7,"kind":256,"mode":"reliable","name":"x"}', '{"run":7,"kind":1,"mode":"sometimes","name":"x"}',
    '{"run":7,"kind":1,"mode":{"real_time":4294967296},"name":"x"}', '{"run":7,"kind":1,"mode":"reliable","name":""}',
    `{"run":7,"kind":1,"mode":"reliable","name":"${"ü".repeat(33)}"}`,
    `{"run":7,"kind":1,"mode":"reliable","name":"x","format":"${"f".repeat(65)}"}`,
    `{"run":7,"kind":1,"mode":"reliable","name":"x","more":"${"m".repeat(4096)}"}`,
    '{"run":7,"kind":1,"mode":"reliable","name":"x","of":7}',
  ];
  for (const body of refused) assert.throws(() => announce(body), Error, body);
});

test("what is cut off is refused", () => {
  for (const message of MESSAGES) {
    for (let end = 0; end < 8; end += 1) assert.throws(() => parse(buffer(write(message).slice(0, end))), Error);
  }
  for (const message of MESSAGES.filter(({ number }) => number)) assert.throws(() => parse(buffer(write(message).slice(0, 11))), Error);
  const [whole] = cut({ stream: 1, number: 1, capturedUs: 0 }, new Uint8Array(0), 0, 9);
  assert.equal(parse(buffer(whole)).data.length, 0);
  assert.throws(() => parse(buffer(whole.slice(0, 15))), Error);
});

function fragment(flags, total, offset, length, number = 1) {
  const front = flags & FIRST ? 8 : 0;
  const data = new Uint8Array(16 + front + length);
  const view = new DataView(data.buffer);
  view.setUint8(0, 1);
  view.setUint8(1, flags);
  view.setUint16(2, 1);
  view.setUint32(4, number);
  view.setUint32(8, total);
  view.setUint32(12, offset);
  return data.buffer;
}

test("fragments without sense are refused", () => {
  for (const sound of [[FIRST, 1000, 0, 400], [0, 1000, 400, 400], [LAST, 1000, 900, 100], [FIRST, MAX_FRAME_BYTES, 0, 256]]) {
    assert.doesNotThrow(() => parse(fragment(...sound)), String(sound));
  }
  const refused = [
    [FIRST, MAX_FRAME_BYTES + 1, 0, 400, "a huge total"], [0, 2 ** 32 - 1, 2 ** 32 - 1, 400, "an end that does not fit"],
    [FIRST, 1000, 1, 400, "a first one that is not in front"], [0, 1000, 0, 400, "one in front that is not the first"],
    [LAST, 1000, 800, 100, "a last one that does not end it"], [0, 1000, 700, 300, "one at the end that is not the last"],
    [0, 1000, 700, 301, "one that goes past the end"], [FIRST, 1000, 0, 255, "a crumb"], [0, 1000, 400, 0, "nothing"],
  ];
  for (const [flags, total, offset, length, what] of refused) assert.throws(() => parse(fragment(flags, total, offset, length)), RangeError, what);
});

function payload(number, length) {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + number) & 255);
}

function fragments(number, length, max) {
  const all = [];
  const whole = payload(number, length);
  let offset = 0;
  do {
    const [message, next] = cut({ stream: 9, number, flags: SNAPSHOT, capturedUs: 77 }, whole, offset, max);
    all.push(parse(buffer(message)));
    offset = next;
  } while (offset < length);
  return all;
}

function same(frame, number, length) {
  assert.deepEqual([frame.number, frame.flags, frame.capturedUs], [number, SNAPSHOT, 77]);
  assert.deepEqual(frame.payload, payload(number, length));
}

test("frames in order survive, and one that is not in order is named", () => {
  const next = random(5);
  for (let round = 0; round < 50; round += 1) {
    const assembly = new InOrder(1);
    const max = 256 + below(next, 2000);
    for (let number = 1; number < 8; number += 1) {
      const length = below(next, 5000);
      const parts = fragments(number, length, max);
      const last = parts.pop();
      for (const part of parts) assert.equal(assembly.push(part), null);
      same(assembly.push(last), number, length);
    }
  }
  const parts = fragments(5, 3000, 1000);
  assert.throws(() => new InOrder(4).push(parts[0]), /frame 5 came where 4/);
  const assembly = new InOrder(5);
  assert.throws(() => assembly.push(parts[1]), /byte 1000 of a frame came where 0/);
  assert.equal(assembly.push(parts[0]), null);
  assert.equal(assembly.held, 1000);
  assert.throws(() => assembly.push(parts[0]), /byte 0 of a frame came where 1000/);
  for (const other of [{ total: 4000 }, { flags: 0 }, { kind: 200 }]) assert.throws(() => assembly.push({ ...parts[1], ...other }), Broken);
});

test("loose frames have bounds", () => {
  const loose = new Loose(10_000);
  for (let number = 1; number < 100; number += 1) assert.equal(loose.push(fragments(number, 5000, 1000)[0]), null);
  assert.deepEqual([loose.held, loose.void], [4000, 95]);
  for (const part of fragments(200, 50_000, 1000).slice(0, -1)) {
    assert.equal(loose.push(part), null);
    assert.ok(loose.held <= 10_000);
  }
});

test("an overlap makes a frame void, and so does another total; a repetition does not", () => {
  const [first, second, third] = fragments(1, 3000, 1000);
  const overlaps = [{ ...second, offset: 900 }, { ...second, offset: 1900 }, { ...second, total: 4000 }, { ...first, data: first.data.slice(1) }];
  for (const contradiction of overlaps) {
    const loose = new Loose(10_000);
    for (const part of [first, first, third, third]) assert.equal(loose.push(part), null);
    assert.deepEqual([loose.held, loose.void], [2000, 0]);
    assert.equal(loose.push(contradiction), null);
    assert.deepEqual([loose.held, loose.void], [0, 1]);
  }
  const loose = new Loose(10_000);
  for (const part of [third, first]) loose.push(part);
  same(loose.push(second), 1, 3000);
  assert.equal(loose.push(first), null, "once is enough");
});

test("in whatever order fragments come: what is given out is right, and newer than what was", () => {
  let given = 0;
  for (let seed = 0; seed < 300; seed += 1) {
    const next = random(seed);
    const lengths = Array.from({ length: 8 }, () => below(next, 5000));
    const waiting = lengths.flatMap((length, i) => fragments(i + 1, length, 700));
    const loose = new Loose(1 << 20);
    let newest = 0;
    for (let step = 0; step < 60 && waiting.length > 0; step += 1) {
      const [part] = waiting.splice(below(next, Math.min(waiting.length, 6)), 1);
      if (next() < 0.1) continue;
      if (next() < 0.2) waiting.push(part);
      const frame = loose.push(part);
      if (!frame) continue;
      assert.ok(frame.number > newest);
      newest = frame.number;
      same(frame, newest, lengths[newest - 1]);
      given += 1;
    }
  }
  assert.ok(given > 300, `${given}`);
});
