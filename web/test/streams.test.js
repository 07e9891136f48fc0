import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { encode } from "../cbor.js";
import { MAX_STREAMS, cut, parse, write } from "../rtsmp.js";
import { Net } from "./host.js";
import { Program, below, hex, numbered, random, settled } from "./support.js";

let now = 0;

beforeEach(() => {
  now = 1_000_000;
  mock.timers.enable({ apis: ["setTimeout"] });
  mock.method(performance, "now", () => now);
  mock.method(console, "debug", () => {});
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

function pass(ms) {
  now += ms;
  mock.timers.tick(ms);
}

function texts(items) {
  return items.map((item) => Buffer.from(item).toString("latin1"));
}

test("of the host's, nothing is lost and nothing comes twice, wherever links are lost", async () => {
  let losses = 0;
  for (let seed = 0; seed < 150; seed += 1) {
    const next = random(seed);
    const net = new Net();
    const log = net.publish(1, 1, "s");
    const program = new Program(net.client.vector("s", { window: 2000 }));
    net.join();
    await net.carry(4);
    assert.ok(log.cursor);
    const pushed = [];
    for (let step = 0; step < 60; step += 1) {
      const act = below(next, 16);
      if (act < 5) log.push(pushed[pushed.push(numbered(pushed.length, below(next, 3000))) - 1]);
      else if (act < 9) await net.carry(below(next, 7));
      else if (act < 11 && net.wire) {
        net.lose();
        losses += 1;
      } else if (act < 13 && !net.wire) net.join();
      else if (act < 15) await program.take(below(next, 4));
      else pass(below(next, 100));
    }
    if (!net.wire) net.join();
    for (let i = 0; i < 2 * pushed.length + 10; i += 1) {
      await net.carry();
      await program.take(1);
      pass(60);
    }
    await net.carry();
    assert.deepEqual(texts(program.items), texts(pushed), `seed ${seed}`);
    assert.equal(log.frames.length, 0, "all is consumed and forgotten");
    assert.deepEqual([program.stream.counts.received, net.client.ignored], [pushed.length, 0]);
  }
  assert.ok(losses > 300, `${losses}`);
});

test("of ours, nothing is lost and nothing comes twice, wherever links are lost", async () => {
  for (let seed = 0; seed < 150; seed += 1) {
    const next = random(seed);
    const net = new Net();
    const publication = net.client.publish("s", { format: "bytes" });
    const pushed = [];
    for (let step = 0; step < 60; step += 1) {
      const act = below(next, 16);
      if (act < 5) {
        const item = numbered(pushed.length, below(next, 40_000));
        pushed.push(item.slice());
        await publication.push(item);
        // It is ours again.
        item.fill(0);
      } else if (act < 9) await net.carry(below(next, 7));
      else if (act < 11 && net.wire) net.lose();
      else if (act < 13 && !net.wire) net.join();
      else if (act < 15) net.consume();
      else pass(below(next, 100));
    }
    if (!net.wire) net.join();
    for (let i = 0; i < pushed.length + 10; i += 1) {
      await net.carry();
      net.consume();
    }
    const [taken] = net.taken.values();
    assert.deepEqual(texts(taken.payloads), texts(pushed), `seed ${seed}`);
    assert.equal(publication.subscribers, 1);
  }
});

function contents(map) {
  return JSON.stringify([...map.entries()].map(([key, value]) => [hex(encode(key)), value]).sort());
}

function contentsOf(log) {
  return JSON.stringify(Array.from(log.entries, ([key, [, value]]) => [key, value]).sort());
}

/** A copy that is kept by what the map tells. */
function replay(map) {
  const copy = new Map();
  map.addEventListener("change", ({ detail }) => {
    if (detail.type === "insert") copy.set(hex(encode(detail.key)), detail.value);
    if (detail.type === "remove") copy.delete(hex(encode(detail.key)));
    if (detail.type !== "reset") return;
    copy.clear();
    for (const [key, value] of map) copy.set(hex(encode(key)), value);
  });
  return () => JSON.stringify([...copy].sort());
}

test("a map is as it was at some time, later at every look, and at last as it is", async () => {
  let snapshots = 0;
  for (let seed = 0; seed < 150; seed += 1) {
    const next = random(seed);
    const net = new Net();
    const log = net.publish(1, 2, "m");
    const map = net.client.map("m");
    const copy = replay(map);
    map.addEventListener("change", ({ detail }) => (snapshots += detail.type === "reset" ? 1 : 0));
    const history = [contentsOf(log)];
    let seen = 0;
    const look = () => {
      const at = history.indexOf(contents(map), seen);
      assert.ok(at >= 0, `seed ${seed}: ${contents(map)} is no state of the map after ${seen}`);
      seen = at;
      assert.equal(copy(), contents(map));
    };
    for (let step = 0; step < 80; step += 1) {
      const act = below(next, 16);
      if (act < 6) {
        const key = [below(next, 8), { x: below(next, 3) }, "k", 1.5][below(next, 4)];
        const change = [[key, step], [key, { at: step }], [key], next() < 0.1 ? [] : [key, null]][below(next, 4)];
        log.change(encode(change));
        history.push(contentsOf(log));
      } else if (act < 11) await net.carry(below(next, 5));
      else if (act < 13 && net.wire) net.lose();
      else if (act < 15 && !net.wire) net.join();
      else pass(below(next, 100));
      look();
    }
    if (!net.wire) net.join();
    await net.carry();
    pass(60);
    await net.carry();
    look();
    assert.equal(contents(map), history.at(-1), `seed ${seed}`);
    assert.equal(map.size, log.entries.size);
    assert.equal(net.client.ignored, 0);
  }
  assert.ok(snapshots > 150, `${snapshots}`);
});

test("a map that is whole goes on over a new link, and one that is not begins anew", async () => {
  const net = new Net();
  const log = net.publish(1, 2, "m");
  for (let i = 0; i < 4; i += 1) log.change(encode([i, i]));
  let resets = 0;
  const map = net.client.map("m");
  map.addEventListener("change", ({ detail }) => (resets += detail.type === "reset" ? 1 : 0));
  const visit = async (most) => {
    net.join();
    await net.carry(most);
    net.lose();
  };
  await visit(4);
  assert.deepEqual([map.size, resets], [0, 0], "half of a snapshot is of no use");
  await visit();
  assert.deepEqual([map.size, resets], [4, 1]);
  assert.equal(net.client.map("m"), map);
  log.change(encode([4, 4]));
  await visit();
  assert.deepEqual([map.size, resets], [5, 1]);
});

test("what clients write comes back from the host, all of it and in order, wherever links are lost", async () => {
  for (let seed = 0; seed < 60; seed += 1) {
    const next = random(seed);
    const net = new Net();
    const log = net.publish(1, 2, "m");
    const map = net.client.map("m");
    const wished = new Map();
    net.join();
    for (let step = 0; step < 60; step += 1) {
      const act = below(next, 10);
      const key = below(next, 5);
      if (act < 3) {
        await map.set({ key }, step);
        wished.set(hex(encode({ key })), step);
      } else if (act === 3) {
        await map.delete({ key });
        wished.delete(hex(encode({ key })));
      } else if (act === 4 && next() < 0.2) {
        await map.clear();
        wished.clear();
      } else if (act < 8) await net.carry(below(next, 6));
      else if (act === 8) net.consume();
      else if (net.wire) net.lose();
      else net.join();
    }
    if (!net.wire) net.join();
    for (let i = 0; i < 70; i += 1) {
      await net.carry();
      net.consume();
      pass(60);
    }
    assert.equal(JSON.stringify([...wished].sort()), contentsOf(log), `seed ${seed}`);
    assert.equal(contents(map), contentsOf(log));
    for (const { announcement } of net.taken.values()) assert.deepEqual([announcement.kind, announcement.name], [4, "m"]);
    assert.equal(map.has({ key: 1 }), wished.has(hex(encode({ key: 1 }))));
    assert.equal(map.get({ key: 1 }), wished.get(hex(encode({ key: 1 }))));
  }
});

/** A host's clock that is ahead of ours, once it is known. */
function clockOf(aheadUs) {
  return { isKnown: true, ageUs: (hostUs, atUs) => (clock.isKnown ? atUs + aheadUs - hostUs : null) };
}
let clock = clockOf(0);

test("of the host's real-time items, what is taken is whole, in order and never late", async () => {
  const total = { received: 0, lost: 0, late: 0 };
  let dropped = 0;
  for (let seed = 0; seed < 100; seed += 1) {
    const next = random(seed);
    clock = clockOf(5_000_000_000);
    const net = new Net(clock);
    net.publish(1, 1, "s", { mode: { realTime: 100 } });
    const program = new Program(net.client.vector("s"));
    net.join();
    await net.carry();
    const madeAt = [];
    const underWay = [];
    let taken = 0;
    for (let step = 0; step < 200; step += 1) {
      const act = below(next, 8);
      if (act < 3) {
        madeAt.push(now);
        const item = numbered(madeAt.length, below(next, 4000));
        for (let offset = 0; offset < item.length; ) {
          const head = { stream: 1, number: madeAt.length, capturedUs: now * 1000 + 5_000_000_000 };
          const [message, end] = cut(head, item, offset, 1100);
          if (next() > 0.05) underWay.push([now + below(next, 90) * (next() < 0.1 ? 3 : 1), message]);
          offset = end;
        }
      } else if (act < 6) pass(below(next, 25));
      else await program.take(below(next, 3));
      underWay.sort(([a], [b]) => a - b);
      while (underWay[0]?.[0] <= now) net.client.receive(underWay.shift()[1].slice().buffer);
      await settled();
      for (const item of program.items.splice(0)) {
        const number = new DataView(item.buffer).getUint32(0);
        assert.ok(number > taken, `${number} after ${taken}`);
        assert.deepEqual(item.slice(4), new Uint8Array(item.length - 4).fill(number));
        assert.ok(now - madeAt[number - 1] <= 100, `seed ${seed}: item ${number} is ${now - madeAt[number - 1]} ms old`);
        taken = number;
      }
    }
    for (const what of Object.keys(total)) total[what] += program.stream.counts[what];
    dropped += program.stream.counts.dropped;
  }
  assert.equal(dropped, 0, "this program is quick enough");
  for (const [what, count] of Object.entries(total)) assert.ok(count > 10, `${what}: ${count}`);
});

test("of real-time items at most 16 wait, the oldest go, and none comes while the host's clock is unknown", async () => {
  clock = clockOf(0);
  const net = new Net(clock);
  net.publish(1, 1, "s", { mode: { realTime: 100 } });
  const program = new Program(net.client.vector("s"));
  net.join();
  await net.carry();
  const send = (number, capturedUs) =>
    net.client.receive(cut({ stream: 1, number, capturedUs }, numbered(number, 4), 0, 1100)[0].buffer);
  clock.isKnown = false;
  send(1, now * 1000);
  clock.isKnown = true;
  for (let number = 2; number <= 30; number += 1) send(number, now * 1000);
  send(32, (now - 150) * 1000);
  send(33, 0);
  await program.take(100);
  assert.deepEqual(program.items.map((item) => item[3]), Array.from({ length: 16 }, (_, i) => i + 15));
  assert.deepEqual(program.stream.counts, { received: 29, lost: 1, late: 3, dropped: 13 });

  // By a clock that is not exact one may come from the future: it is not good for longer than others.
  for (const number of [34, 35]) send(number, (now + 1000) * 1000);
  await settled();
  pass(101);
  await program.take(1);
  assert.deepEqual([program.items.length, program.stream.counts.late], [17, 4]);
  net.lose();
  net.join();
  await net.carry();
  for (const number of [35, 34, 36]) send(number, now * 1000);
  await program.take(9);
  assert.deepEqual(program.items.slice(16).map((item) => item[3]), [34, 36], "newer than all before");
});

test("of our real-time items the newest goes out, with the host's time, and none that is late", async () => {
  clock = clockOf(7_000_000);
  const net = new Net(clock);
  const publication = net.client.publish("s", { mode: { realTime: 50 }, format: "bytes" });
  net.join();
  await net.carry();
  const sent = async () => {
    await settled();
    const messages = net.wire.live.messages.splice(0).map((message) => parse(message.slice().buffer));
    net.wire.live.bufferedAmount = 0;
    return messages;
  };
  await publication.push(numbered(1, 4));
  assert.deepEqual(await sent(), [], "nobody has subscribed");
  net.say({ type: "subscribe", stream: 1, number: 0, window: 1, tag: 3 });
  await net.carry();
  assert.equal(publication.subscribers, 1);
  for (let n = 2; n <= 4; n += 1) publication.push(numbered(n, 4));
  const [only, ...more] = await sent();
  assert.deepEqual([only.number, only.data[3], only.capturedUs, more], [4, 4, now * 1000 + 7_000_000, []]);
  assert.equal(publication.dropped, 2);

  // While there is no room, or no clock, items wait; not for long.
  net.wire.live.bufferedAmount = 64 << 10;
  publication.push(numbered(5, 4));
  assert.deepEqual(await sent(), []);
  pass(51);
  net.wire.live.onbufferedamountlow();
  assert.deepEqual(await sent(), []);
  clock.isKnown = false;
  publication.push(numbered(6, 4));
  assert.deepEqual(await sent(), []);
  clock.isKnown = true;
  pass(20);
  publication.push(numbered(7, 150_000));
  const parts = await sent();
  assert.ok(parts.every(({ number, capturedUs }, i) => number === 7 && (i > 0 || capturedUs === now * 1000 + 7_000_000)));
  const most = (64 << 10) / 1100;
  assert.ok(parts.length > most - 3 && parts.length < most, `${parts.length}`);
  pass(51);
  net.wire.live.onbufferedamountlow();
  assert.deepEqual(await sent(), [], "half of a frame is of no use");
});

test("no more than 256 KiB wait in the channel, no more than 4 MiB in a stream, and streams take turns", async () => {
  const net = new Net();
  net.window = 32 << 20;
  const [one, two] = ["one", "two"].map((name) => net.client.publish(name, { format: "bytes" }));
  net.join();
  await net.carry();
  let placed = 0;
  const pushes = Array.from({ length: 70 }, (_, i) => one.push(numbered(i, 99_968)).then(() => (placed += 1)));
  await two.push(numbered(0, 99_968));
  await settled();
  assert.equal(placed, Math.floor((4 << 20) / 100_000));
  const channel = net.wire.streams;
  assert.ok(channel.most > 230 << 10 && channel.most <= 256 << 10, `${channel.most}`);
  const numbers = new Set(channel.messages.slice(0, 6).map((message) => parse(message.slice().buffer).stream));
  assert.deepEqual([...numbers].sort(), [1, 2]);
  for (let i = 0; i < 20; i += 1) {
    await net.carry();
    net.consume();
  }
  await Promise.all(pushes);
  assert.deepEqual([...net.taken.values()].map(({ payloads }) => payloads.length), [70, 1]);
  assert.ok(channel.most <= 256 << 10);
});

test("who waits for a place is told when the stream or the room ends", async () => {
  const net = new Net();
  const [one, two] = ["one", "two"].map((name) => net.client.publish(name));
  await one.push("a".repeat(5 << 20));
  await two.push("a".repeat(5 << 20));
  const waits = [one.push(1), two.push(1)].map((push) => push.catch(({ message }) => message));
  one.withdraw();
  net.client.end(null);
  assert.deepEqual(await Promise.all(waits), ["the stream was withdrawn", "the room was left"]);
  await assert.rejects(two.push(1), /the room was left/);
  assert.throws(() => net.client.vector("x"), /over/);
  assert.throws(() => net.client.publish("x"), /left/);
});

test("what cannot be published is refused", async () => {
  const { client } = new Net();
  client.publish("s");
  for (const [name, options] of [["s"], [""], ["n".repeat(65)], ["x", { mode: { realTime: -1 } }], ["x", { mode: { realTime: 1e9 } }]]) {
    assert.throws(() => client.publish(name, options), RangeError);
  }
  const raw = client.publish("raw", { format: "bytes" });
  assert.equal(raw.subscribers, 0);
  await assert.rejects(raw.push("text"), TypeError);
  await assert.rejects(raw.push(new Uint8Array((16 << 20) + 1)), RangeError);
  for (let i = 2; i < MAX_STREAMS; i += 1) client.publish(`n${i}`);
  assert.throws(() => client.publish("one more"), /too many/);
});

test("items are what they were, and a program that leaves its loop takes no more", async () => {
  const net = new Net();
  const log = net.publish(1, 1, "s", { format: "cbor" });
  const stream = net.client.vector("s");
  assert.throws(() => net.client.vector("s"), /already/);
  net.join();
  await net.carry();
  for (const item of [{ a: 1 }, [null, "x"], 2]) log.push(encode(item));
  log.push(Uint8Array.of(0xff));
  await net.carry();
  const seen = [];
  await assert.rejects(async () => {
    for await (const item of stream) seen.push(item);
  }, /simple value/);
  assert.deepEqual(seen, [{ a: 1 }, [null, "x"], 2]);
  log.push(encode("after"));
  await net.carry();
  for await (const item of stream) {
    seen.push(item);
    break;
  }
  assert.equal(seen.at(-1), "after");
  await net.carry();
  assert.equal(log.cursor, null, "the host knows that it takes no more");
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
  // What was under way to the one before does not disturb the next.
  const again = net.client.vector("s");
  net.client.receive(cut({ stream: 1, number: 99, capturedUs: 0 }, numbered(1, 4), 0, 99)[0].buffer);
  await net.carry();
  log.push(encode("again"));
  await net.carry();
  assert.deepEqual(await again.next(), { done: false, value: "again" });
});

test("a stream outlives withdrawal and the host's restart, and ends with the room", async () => {
  const net = new Net();
  const log = net.publish(1, 1, "s");
  const program = new Program(net.client.vector("s"));
  net.join();
  await net.carry();
  log.push(numbered(1, 4));
  await net.carry();
  net.withdraw(1);
  await net.carry();
  const again = net.publish(2, 1, "s");
  await net.carry();
  again.push(numbered(2, 4));
  await net.carry();
  net.lose();
  net.logs.clear();
  const other = net.publish(3, 1, "s", { run: 6 });
  net.join();
  await net.carry();
  other.push(numbered(3, 4));
  await net.carry();
  await program.take(9);
  assert.deepEqual(program.items.map((item) => item[3]), [1, 2, 3]);
  net.client.end(null);
  await settled();
  assert.equal(program.isDone, true);
  const names = ["announce", "withdraw", "announce", "withdraw", "announce"].map((type) => `${type} vector s`);
  assert.deepEqual(net.told, names);
});

test("what is not announced over a new link is withdrawn after a while, and the rest is not told again", async () => {
  const net = new Net();
  net.publish(1, 1, "stays");
  net.publish(2, 2, "goes");
  net.join();
  await net.carry();
  net.lose();
  net.logs.delete(2);
  net.join();
  await net.carry();
  assert.deepEqual(net.client.list().map(({ name }) => name), ["stays", "goes"]);
  pass(5001);
  assert.deepEqual(net.client.list(), [{ kind: "vector", name: "stays", mode: "reliable", format: "bytes", of: null }]);
  assert.deepEqual(net.told, ["announce vector stays", "announce map goes", "withdraw map goes"]);
});

test("a window is held by a program that takes nothing, and by what it held before", async () => {
  const net = new Net();
  const log = net.publish(1, 1, "s");
  const program = new Program(net.client.vector("s", { window: 1000 }));
  net.join();
  await net.carry();
  for (let n = 0; n < 60; n += 1) log.push(numbered(n, 68));
  await net.carry();
  assert.equal(program.stream.counts.received, 10);
  net.lose();
  net.join();
  await net.carry();
  assert.equal(program.stream.counts.received, 10, "what waits here counts over the new link too");
  for (let n = 0; n < 60; n += 1) {
    await program.take(1);
    pass(60);
    await net.carry();
    assert.ok(program.stream.counts.received - program.items.length <= 10);
  }
  assert.deepEqual(program.items.map((item) => item[3]), Array.from({ length: 60 }, (_, i) => i));
});

test("what was taken between two runs of a host is made good once the second begins", async () => {
  for (const early of [0, 5]) {
    const net = new Net();
    const log = net.publish(1, 1, "s");
    const program = new Program(net.client.vector("s", { window: 1000 }));
    net.join();
    await net.carry();
    for (let n = 0; n < 10; n += 1) log.push(numbered(n, 68));
    await net.carry();
    await program.take(early);
    net.lose();
    net.logs.clear();
    const other = net.publish(1, 1, "s", { run: 6 });
    net.join();
    await net.carry(1);
    await program.take(10 - early);
    pass(60);
    await net.carry();
    for (let n = 10; n < 30; n += 1) other.push(numbered(n, 68));
    for (let n = 0; n < 30; n += 1) {
      await net.carry();
      pass(60);
      await program.take(1);
    }
    assert.deepEqual(program.items.map((item) => item[3]), Array.from({ length: 30 }, (_, i) => i), `${early}`);
  }
});

test("what is under way to a map that is not wanted any more does not disturb the next", async () => {
  const net = new Net();
  const log = net.publish(1, 2, "m");
  for (let i = 0; i < 4; i += 1) log.change(encode([i, i]));
  const first = net.client.map("m");
  net.join();
  await net.carry(3);
  first.stop();
  const second = net.client.map("m");
  assert.notEqual(second, first);
  await net.carry();
  assert.deepEqual([first.size, second.size, net.client.ignored], [0, 4, 0]);
});

test("a program is told that a host does not have any more what is missing", async () => {
  const net = new Net();
  const log = net.publish(1, 1, "s");
  const program = new Program(net.client.vector("s"));
  net.join();
  await net.carry();
  log.push(numbered(1, 4));
  await net.carry();
  net.lose();
  log.first = 9;
  log.frames = [numbered(9, 4)];
  net.join();
  await net.carry();
  await program.take(9);
  await program.take(9);
  assert.deepEqual([program.items.length, program.failures[0]?.reason], [1, "gone"]);
});

test("a host that asks for what is not kept any more, or never was, is told so", async () => {
  const net = new Net();
  const publication = net.client.publish("s", { format: "bytes" });
  for (let n = 0; n < 3; n += 1) await publication.push(numbered(n, 4));
  net.join();
  await net.carry();
  net.consume();
  await net.carry();
  const answers = async (message) => {
    net.client.receive(write({ stream: 1, window: 9, ...message }).slice().buffer);
    await settled();
    const { type, number, reason } = parse(net.wire.streams.messages.splice(0)[0].slice().buffer);
    return [type, number ?? reason, publication.subscribers];
  };
  assert.deepEqual(await answers({ type: "subscribe", number: 3 }), ["ended", "gone", 0]);
  assert.deepEqual(await answers({ type: "subscribe", number: 5 }), ["ended", "protocol", 0]);
  assert.deepEqual(await answers({ type: "subscribe", number: 4 }), ["began", 4, 1]);
  assert.deepEqual(await answers({ type: "consumed", number: 4 }), ["ended", "protocol", 0]);
});

test("a host that ends a stream is heard by the program", async () => {
  const net = new Net();
  const log = net.publish(1, 1, "s");
  const map = net.publish(2, 2, "m");
  const program = new Program(net.client.vector("s"));
  let ended = "";
  net.client.map("m").addEventListener("end", ({ detail }) => (ended = detail));
  net.join();
  await net.carry();
  log.push(numbered(1, 4));
  await net.carry();
  net.say({ type: "ended", stream: 1, reason: "too_slow", tag: log.tag });
  net.say({ type: "ended", stream: 2, reason: "refused", tag: map.tag });
  await net.carry();
  await program.take(3);
  assert.deepEqual([program.items.length, program.failures[0].reason, ended], [1, "too_slow", "refused"]);
  await program.take(1);
  assert.equal(program.isDone, true);
  net.client.vector("s");
});

test("hostile publishers are bounded", async () => {
  const net = new Net();
  net.join();
  const hear = (message) => net.client.receive(message.slice().buffer);
  const announce = (stream, name, kind = 1) =>
    hear(write({ type: "announce", stream, announcement: { run: 1, kind, mode: "reliable", name, format: "bytes", of: null } }));
  announce(1, "s");
  announce(2, "s");
  for (let stream = 3; stream < 600; stream += 1) announce(stream, `n${stream}`);
  assert.equal(net.client.ignored, 597 + 2 - MAX_STREAMS);
  announce(3, "m", 2);
  assert.equal(net.client.list().length, MAX_STREAMS);

  let tag = 0;
  const subscribed = async () => {
    await settled();
    const said = net.wire.streams.messages.map((message) => parse(message.slice().buffer));
    tag = said.findLast(({ type }) => type === "subscribe").tag;
  };
  const broken = async (act) => {
    const program = new Program(net.client.vector("s", { window: 1000 }));
    await subscribed();
    act();
    await program.take(99);
    return [program.items.length, program.failures[0]?.reason];
  };
  const began = (number) => hear(write({ type: "began", stream: 1, number, snapshot: 0, tag }));
  const frame = (number, length = 68) => hear(cut({ stream: 1, number, capturedUs: 0 }, numbered(number, length), 0, 20_000)[0]);
  assert.deepEqual(await broken(() => began(0)), [0, "protocol"], "no frame has this number");
  const flood = () => {
    began(1);
    for (let number = 1; number <= 30; number += 1) frame(number);
  };
  assert.deepEqual(await broken(flood), [10, "protocol"], "more than the window");
  assert.deepEqual(await broken(() => [began(1), frame(1), frame(3)]), [1, "protocol"], "a gap");
  const turns = () => {
    for (let turn = 0; turn < 50; turn += 1) {
      began(100 * turn + 1);
      for (let i = 1; i < 6; i += 1) frame(100 * turn + i);
    }
  };
  assert.deepEqual(await broken(turns), [10, "protocol"], "what came before other beginnings counts");

  const map = net.client.map("m");
  let ended = "";
  map.addEventListener("end", ({ detail }) => (ended = detail));
  await subscribed();
  hear(write({ type: "began", stream: 3, number: 1, snapshot: 0, tag }));
  hear(cut({ stream: 3, number: 1, capturedUs: 0 }, encode([1, 2, 3]), 0, 99)[0]);
  assert.deepEqual([ended, map.size], ["protocol", 0]);
  for (const data of [new Uint8Array(3), new Uint8Array(20).fill(1), Uint8Array.of(16, 0, 0, 1, 0, 0, 0, 0, 0x7b)]) hear(data);
  assert.equal(net.client.ignored, 597 + 2 - MAX_STREAMS + 5 + 3);
});
