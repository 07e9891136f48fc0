import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { MAX_STREAMS, parse, write } from "../rtsmp.js";
import { Net } from "./host.js";
import { Program, numbered, settled } from "./support.js";

beforeEach(() => mock.method(console, "debug", () => {}));
afterEach(() => mock.restoreAll());

test("a program that is slow when the host clears a stream gets what comes after, and what it had", async () => {
  const net = new Net();
  const log = net.publish(1, 1, "s");
  const program = new Program(net.client.vector("s", { window: 1000 }));
  net.join();
  await net.carry();
  for (let n = 0; n < 20; n += 1) log.push(numbered(n, 68));
  await net.carry();
  net.clear(1);
  for (let n = 20; n < 30; n += 1) log.push(numbered(n, 68));
  await net.carry();
  assert.equal(program.stream.counts.received, 10, "nothing fits besides those");
  for (let i = 0; i < 20; i += 1) {
    await program.take(1);
    await new Promise((resolve) => setTimeout(resolve, 60));
    await net.carry();
  }
  const expected = [...Array.from({ length: 10 }, (_, n) => n), ...Array.from({ length: 10 }, (_, n) => n + 20)];
  assert.deepEqual(program.items.map((item) => item[3]), expected);
  assert.deepEqual(program.failures, []);
});

test("that a stream was too slow for an earlier subscription does not end this one", async () => {
  const net = new Net();
  const log = net.publish(1, 1, "s");
  net.join();
  net.client.vector("s").stop();
  await net.carry(1);
  net.say({ type: "ended", stream: 1, reason: "too_slow", tag: log.tag });
  const program = new Program(net.client.vector("s"));
  await net.carry();
  log.push(numbered(1, 68));
  await net.carry();
  await program.take(1);
  assert.deepEqual([program.items.length, program.failures], [1, []]);
});

test("streams that come and go faster than the link takes them cost nothing", async () => {
  const net = new Net();
  net.join();
  await net.carry();
  const { streams } = net.wire;
  streams.readyState = "connecting";
  for (let n = 0; n < 100_000; n += 1) net.client.publish(`n${n}`).withdraw();
  const last = net.client.publish("last");
  net.client.receive(write({ type: "subscribe", stream: 7, number: 0, window: 9, tag: 3 }).slice().buffer);
  await settled();
  streams.readyState = "open";
  streams.onopen();
  await settled();
  const said = streams.messages.map((message) => parse(message.slice().buffer));
  assert.deepEqual(said.map(({ type }) => type), ["announce", "ended"]);
  assert.equal(said[0].announcement.name, "last");
  last.withdraw();
});

test("a host that never has told all is not believed to have ever more", async () => {
  const net = new Net();
  let number = 0;
  for (let link = 0; link < 20; link += 1) {
    net.join();
    for (let i = 0; i < MAX_STREAMS; i += 1) {
      number += 1;
      const announcement = { run: 1, kind: 1, mode: "reliable", name: `n${number}`, format: "", of: null };
      net.client.receive(write({ type: "announce", stream: number, announcement }).buffer);
    }
    net.lose();
  }
  assert.equal(net.client.list().length, MAX_STREAMS);
});

test("what is taken while the link takes nothing is told once", async () => {
  const net = new Net();
  const log = net.publish(1, 1, "s");
  const program = new Program(net.client.vector("s", { window: 1000 }));
  net.join();
  await net.carry();
  for (let n = 0; n < 10; n += 1) log.push(numbered(n, 68));
  await net.carry();
  net.wire.streams.readyState = "connecting";
  for (let n = 0; n < 10; n += 1) {
    await program.take(1);
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  net.wire.streams.readyState = "open";
  net.wire.streams.onopen();
  await settled();
  const said = net.wire.streams.messages.map((message) => parse(message.slice().buffer));
  assert.deepEqual(said, [{ type: "consumed", stream: 1, number: 10, window: 1000 }]);
});

test("what is too much for a map is refused here", async () => {
  const net = new Net();
  net.join();
  await assert.rejects(net.client.map("m").set("key", new Uint8Array(65_536)), RangeError);
});

test("a host that asks without end and takes nothing gets nothing any more", async () => {
  const net = new Net();
  net.join();
  const ask = write({ type: "subscribe", stream: 77, number: 0, window: 9, tag: 3 });
  for (let i = 0; i < 10_000; i += 1) net.client.receive(ask.slice().buffer);
  await settled();
  assert.equal(net.wire.streams.messages.length, 0);
  net.join();
  net.client.receive(ask.slice().buffer);
  await settled();
  const said = net.wire.streams.messages.map((message) => parse(message.slice().buffer));
  assert.deepEqual(said, [{ type: "all_told", stream: 0 }, { type: "ended", stream: 77, reason: "refused", tag: 3 }]);
});
