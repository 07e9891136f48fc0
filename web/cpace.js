/**
 * CPace: two sides that share a password agree on a key, and nobody else learns anything to try passwords with.
 * CPACE-X25519-SHA512 of draft-irtf-cfrg-cpace-21, in the setting of an initiator (this side) and a responder.
 * @module
 */

import { concat, utf8 } from "./bytes.js";
import { multiply } from "./noise.js";

/** @import { Bytes } from "./shapes.js" */

const GENERATOR = utf8("CPace255");
const KEY = utf8("CPace255_ISK");
/** SHA-512 takes its input in blocks of so many bytes. */
const BLOCK_BYTES = 128;
/** A private key of X25519 in PKCS #8 (RFC 8410) is this, then 32 bytes. */
const PKCS8 = Uint8Array.of(48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 110, 4, 34, 4, 32);

/** The field, and the curve's coefficient: v² = u³ + J u² + u. */
const P = 2n ** 255n - 19n;
const J = 486_662n;

/**
 * @param {bigint} base
 * @param {bigint} exponent
 */
function power(base, exponent) {
  let result = 1n;
  for (const bit of exponent.toString(2)) {
    result = (result * result) % P;
    if (bit === "1") result = (result * base) % P;
  }
  return result;
}

/** Secret, and not 0. */
function randomNumber() {
  const words = crypto.getRandomValues(new BigUint64Array(5));
  return (words.reduce((number, word) => (number << 64n) | word, 0n) % (P - 1n)) + 1n;
}

/**
 * From bytes to the u-coordinate of a point (RFC 9380, 6.7.1): `map_to_curve_elligator2`. WebCrypto has no such thing.
 * Numbers of this kind take a time that depends on them. The two long powers are therefore taken of what was multiplied
 * by a secret random number, which drops out again.
 * @param {Bytes} bytes little-endian; bit 255 is not looked at
 * @returns {Bytes}
 */
export function mapToCurve(bytes) {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).reverse();
  const u = BigInt(`0x${hex.join("")}`) & (2n ** 255n - 1n);
  // The denominator is never 0: -1/2 is not a square.
  const blind = randomNumber();
  const inverse = (blind * power((((1n + 2n * u * u) % P) * blind) % P, P - 2n)) % P;
  const x1 = ((P - J) * inverse) % P;
  const gx1 = (x1 * (x1 * (x1 + J) + 1n)) % P;
  const isSquare = power((gx1 * ((blind * blind) % P)) % P, (P - 1n) / 2n) !== P - 1n;
  const x = isSquare ? x1 : (2n * P - x1 - J) % P;
  return Uint8Array.from({ length: 32 }, (_, i) => Number((x >> BigInt(8 * i)) & 255n));
}

/**
 * Each part after its length (LEB128).
 * @param {...Bytes} parts
 * @returns {Bytes}
 */
function withLengths(...parts) {
  return concat(
    ...parts.flatMap((part) => {
      const length = [];
      let rest = part.length;
      for (; rest > 0x7f; rest >>= 7) length.push((rest & 0x7f) | 0x80);
      return [Uint8Array.from([...length, rest]), part];
    }),
  );
}

/** @param {Bytes} data @returns {Promise<Bytes>} */
async function sha512(data) {
  return new Uint8Array(await crypto.subtle.digest("SHA-512", data));
}

/** One exchange. */
export class Exchange {
  #session;
  #scalar;

  /**
   * @param {Bytes} session
   * @param {CryptoKey} scalar
   * @param {Bytes} share
   */
  constructor(session, scalar, share) {
    this.#session = session;
    this.#scalar = scalar;
    /** What the other side needs. */
    this.share = share;
  }

  /**
   * @param {Bytes} password
   * @param {Bytes} channel what the key is for; the same on both sides
   * @param {Bytes} session this exchange; the same on both sides
   * @param {Bytes} random 32 bytes, fresh for each exchange
   * @returns {Promise<Exchange>}
   */
  static async begin(password, channel, session, random) {
    const front = withLengths(GENERATOR, password);
    const padding = new Uint8Array(Math.max(BLOCK_BYTES - front.length - 1, 0));
    const digest = await sha512(concat(front, withLengths(padding, channel, session)));
    const generator = mapToCurve(digest.slice(0, 32));
    const scalar = await crypto.subtle.importKey("pkcs8", concat(PKCS8, random), "X25519", false, ["deriveBits"]);
    return new Exchange(session, scalar, await multiply(scalar, generator));
  }

  /**
   * The key, 64 bytes.
   * @param {Bytes} theirs the responder's share
   * @param {[Bytes, Bytes]} [data] what came along with the shares: ours, theirs
   * @returns {Promise<Bytes>}
   * @throws {DOMException} for a share that no honest peer sends
   */
  async finish(theirs, [ours, other] = [new Uint8Array(0), new Uint8Array(0)]) {
    const secret = await multiply(this.#scalar, theirs);
    return sha512(withLengths(KEY, this.#session, secret, this.share, ours, theirs, other));
  }
}
