import assert from "node:assert/strict";
import { test } from "node:test";

import { Decoder, decode, encode } from "../cbor.js";
import { below, bytes, hex, random } from "./support.js";

/** RFC 8949, appendix A: what is coded in one way only. */
const CANONICAL = [
  ["00", 0], ["01", 1], ["0a", 10], ["17", 23], ["1818", 24], ["1819", 25], ["1864", 100], ["1903e8", 1000],
  ["1a000f4240", 1_000_000], ["1b000000e8d4a51000", 1_000_000_000_000], ["1bffffffffffffffff", 18446744073709551615n],
  ["3bffffffffffffffff", -18446744073709551616n], ["20", -1], ["29", -10], ["3863", -100], ["3903e7", -1000],
  ["f98000", -0], ["fb3ff199999999999a", 1.1], ["f93e00", 1.5], ["fb7e37e43c8800759c", 1.0e300],
  ["f90001", 5.960464477539063e-8], ["f90400", 0.00006103515625], ["f9c400", -4, "float"], ["fbc010666666666666", -4.1],
  ["fa7f7fffff", 3.4028234663852886e38], ["f97c00", Infinity], ["f97e00", NaN], ["f9fc00", -Infinity],
  ["f4", false], ["f5", true], ["f6", null], ["f7", undefined],
  ["40", bytes("")], ["4401020304", bytes("01020304")],
  ["60", ""], ["6161", "a"], ["6449455446", "IETF"], ["62225c", "\"\\"], ["62c3bc", "\u00fc"], ["63e6b0b4", "\u6c34"],
  ["64f0908591", "\ud800\udd51"],
  ["80", []], ["83010203", [1, 2, 3]], ["8301820203820405", [1, [2, 3], [4, 5]]],
  ["98190102030405060708090a0b0c0d0e0f101112131415161718181819", Array.from({ length: 25 }, (_, i) => i + 1)],
  ["a0", {}], ["a201020304", new Map([[1, 2], [3, 4]])], ["a26161016162820203", { a: 1, b: [2, 3] }],
  ["826161a161626163", ["a", { b: "c" }]],
  ["a56161614161626142616361436164614461656145", { a: "A", b: "B", c: "C", d: "D", e: "E" }],
];

/** The same: what others may write so. */
const OTHERS = [
  ["f90000", 0], ["f93c00", 1], ["f97bff", 65504], ["fa47c35000", 100_000], ["fa7f800000", Infinity], ["fa7fc00000", NaN],
  ["faff800000", -Infinity], ["fb7ff0000000000000", Infinity], ["fb7ff8000000000000", NaN], ["fbfff0000000000000", -Infinity],
  ["c249010000000000000000", bytes("010000000000000000")], ["c074323031332d30332d32315432303a30343a30305a", "2013-03-21T20:04:00Z"],
  ["c11a514b67b0", 1363896240], ["c1fb41d452d9ec200000", 1363896240.5], ["d74401020304", bytes("01020304")],
  ["d818456449455446", bytes("6449455446")], ["d82076687474703a2f2f7777772e6578616d706c652e636f6d", "http://www.example.com"],
  ["5f42010243030405ff", bytes("0102030405")], ["7f657374726561646d696e67ff", "streaming"], ["9fff", []],
  ["9f018202039f0405ffff", [1, [2, 3], [4, 5]]], ["9f01820203820405ff", [1, [2, 3], [4, 5]]],
  ["83018202039f0405ff", [1, [2, 3], [4, 5]]], ["83019f0203ff820405", [1, [2, 3], [4, 5]]],
  ["9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff", Array.from({ length: 25 }, (_, i) => i + 1)],
  ["bf61610161629f0203ffff", { a: 1, b: [2, 3] }], ["826161bf61626163ff", ["a", { b: "c" }]],
  ["bf6346756ef563416d7421ff", { Fun: true, Amt: -2 }],
];

/** What is no whole item, or means nothing here. */
const REFUSED = [
  "", "18", "1901", "1a010203", "1b01020304050607", "1c", "1d", "1e", "1f", "3f", "df00", "fc", "fd", "fe", "ff", "f0", "f818", "f8ff",
  "f90000 00", "41", "4403", "61", "62c3", "62c328", "81", "8201", "9f01", "9f", "a1", "a101", "bf01ff", "bf", "c1", "5f", "5f41", "5f6161ff",
  "5f5f4101ffff", "7f4101ff", "7f7f6161ffff", "7f61ff", "9b00000001ffffffff", "9bffffffffffffffff", "bbffffffffffffffff00",
  "5bffffffffffffffff00", "7b0000000100000000", "9a00100000", "ba00100000", "0001",
];

test("what RFC 8949 shows is written and read so", () => {
  for (const [coded, value, isFloat] of CANONICAL) {
    assert.deepEqual(decode(bytes(coded)), value, coded);
    if (!isFloat) assert.equal(hex(encode(value)), coded);
  }
  for (const [coded, value] of OTHERS) assert.deepEqual(decode(bytes(coded)), value, coded);
  assert.ok(Object.is(decode(bytes("f98000")), -0));
});

test("integers beyond 2^53 are bigints, and survive", () => {
  for (const value of [2n ** 53n + 1n, 2n ** 64n - 1n, -(2n ** 53n) - 1n, -(2n ** 64n)]) assert.equal(decode(encode(value)), value);
  for (const value of [2 ** 53, -(2 ** 53), 2 ** 32, 2 ** 32 - 1, -(2 ** 32)]) {
    assert.equal(decode(encode(value)), value);
    assert.deepEqual(encode(BigInt(value)), encode(value));
  }
  assert.equal(hex(encode(2 ** 60)), "fa5d800000", "no number of JavaScript is exact there");
  for (const value of [2n ** 64n, -(2n ** 64n) - 1n]) assert.throws(() => encode(value), RangeError);
});

test("floats are as short as they can be without a loss", () => {
  const view = new DataView(new ArrayBuffer(8));
  for (let half = 0; half < 0x1_0000; half += 1) {
    const value = decode(Uint8Array.of(0xf9, half >> 8, half & 255));
    const coded = encode(value);
    if (Number.isInteger(value) && !Object.is(value, -0)) assert.ok(coded[0] < 0x40, `${value} is an integer`);
    else if (!Number.isNaN(value)) assert.equal(hex(coded), `f9${half.toString(16).padStart(4, "0")}`);
  }
  const next = random(7);
  for (let i = 0; i < 20_000; i += 1) {
    view.setUint32(0, below(next, 2 ** 32));
    view.setUint32(4, i % 2 ? 0 : below(next, 2 ** 32));
    for (const value of [view.getFloat64(0), view.getFloat32(0)]) {
      const coded = encode(value);
      assert.ok(Object.is(decode(coded), value), `${value}`);
      if (coded[0] === 0xfb) assert.notEqual(Math.fround(value), value);
    }
  }
});

function anything(next, depth) {
  const leaves = [null, undefined, true, false, below(next, 100), -below(next, 1e6), next() * 1e9, next(), "", "grüße \u{1f600}", bytes("00ff")];
  const kind = below(next, depth > 4 ? leaves.length : leaves.length + 3);
  if (kind < leaves.length) return leaves[kind];
  const several = Array.from({ length: below(next, 30) }, () => anything(next, depth + 1));
  if (kind === leaves.length) return several;
  if (kind === leaves.length + 1) return Object.fromEntries(several.map((item, i) => [`k${i}`, item]));
  return new Map([[0, 0], ...several.map((item, i) => [[i], item])]);
}

test("what is written is read as it was", () => {
  const next = random(1);
  for (let i = 0; i < 500; i += 1) {
    const value = anything(next, 0);
    const coded = encode(value);
    assert.deepEqual(decode(coded), value);
    assert.deepEqual(encode(decode(coded)), coded);
  }
});

test("what CBOR does not have is refused, and what contains itself", () => {
  const loop = [];
  loop.push(loop);
  for (const value of [loop, Symbol("s"), () => {}, new Date(), new Set(), new Float32Array(1)]) {
    assert.throws(() => encode(value), /./, String(typeof value));
  }
  assert.deepEqual(decode(encode(Object.assign(Object.create(null), { a: 1 }))), { a: 1 });
});

test("members have any name, and change no other object", () => {
  const read = decode(encode(JSON.parse('{"__proto__": {"polluted": 1}}')));
  assert.deepEqual(Object.keys(read), ["__proto__"]);
  assert.equal(read.polluted, undefined);
  assert.equal({}.polluted, undefined);
  assert.equal(decode(encode("\ufeffa")), "\ufeffa");
});

test("hostile bytes are refused, and cost no more than they are long", () => {
  for (const coded of REFUSED) assert.throws(() => decode(bytes(coded)), Error, coded);
  for (const opening of ["81", "9f", "a100", "bf00", "c1"]) {
    const deep = (levels, end) => bytes(opening.repeat(levels) + "00" + end.repeat(opening.startsWith("9") || opening.startsWith("b") ? levels : 0));
    assert.doesNotThrow(() => decode(deep(64, "ff")), opening);
    assert.throws(() => decode(deep(65, "ff")), /too deep/, opening);
    assert.throws(() => decode(bytes(opening.repeat(100_000))), Error);
  }
  const chunks = bytes(`5f${"40".repeat(1_000_000)}ff`);
  assert.equal(decode(chunks).length, 0);
  const began = performance.now();
  assert.throws(() => decode(bytes("5f".repeat(200_000))), Error);
  assert.ok(performance.now() - began < 2000);
});

test("no bytes do anything but read or throw", () => {
  const next = random(3);
  for (let i = 0; i < 50_000; i += 1) {
    const noise = Uint8Array.from({ length: below(next, 24) }, () => below(next, 256));
    let value;
    try {
      value = decode(noise);
    } catch (error) {
      assert.ok(error instanceof Error);
      continue;
    }
    assert.deepEqual(decode(encode(value)), value);
  }
});

test("items are read one after another, and arrays with the bytes of their elements", () => {
  const decoder = new Decoder(bytes("8218646161 81f4 80 9f0102ff 6162"));
  const found = [];
  for (let i = 0; i < 4; i += 1) found.push(decoder.nextArray().map(({ value, bytes: raw }) => [value, hex(raw)]));
  assert.deepEqual(found, [[[100, "1864"], ["a", "6161"]], [[false, "f4"]], [], [[1, "01"], [2, "02"]]]);
  assert.equal(decoder.isAtEnd, false);
  assert.equal(decoder.next(), "b");
  assert.equal(decoder.isAtEnd, true);
  assert.throws(() => decoder.next(), RangeError);
  assert.throws(() => new Decoder(bytes("a10102")).nextArray(), /not an array/);
});
