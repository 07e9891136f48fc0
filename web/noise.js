/**
 * Noise_NKpsk0_25519_AESGCM_SHA256, the initiator's side, over WebCrypto: docs/rendezvous.md, section 8.1, and The Noise
 * Protocol Framework, revision 34.
 * @module
 */

import { concat, utf8 } from "./bytes.js";

/** @import { Bytes, Keys } from "./shapes.js" */

const PROTOCOL = "Noise_NKpsk0_25519_AESGCM_SHA256";
const KEY_BYTES = 32;
const TAG_BYTES = 16;
const EMPTY = new Uint8Array(0);

/**
 * @param {Bytes} data
 * @returns {Promise<Bytes>}
 */
export async function sha256(data) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
}

/**
 * HKDF (RFC 5869) with SHA-256. With an empty `info` it is Noise's HKDF.
 * @param {Bytes} salt
 * @param {Bytes} secret
 * @param {Bytes} info
 * @param {number} length in bytes
 * @returns {Promise<Bytes>}
 */
export async function hkdf(salt, secret, info, length) {
  const key = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
  const algorithm = { name: "HKDF", hash: "SHA-256", salt, info };
  return new Uint8Array(await crypto.subtle.deriveBits(algorithm, key, length * 8));
}

/**
 * X25519 (RFC 7748, section 5).
 * @param {CryptoKey} scalar
 * @param {Bytes} point
 * @returns {Promise<Bytes>}
 * @throws {DOMException} for points of small order, whose products are all the same
 */
export async function multiply(scalar, point) {
  const key = await crypto.subtle.importKey("raw", point, "X25519", false, []);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: key }, scalar, 256));
}

/** A key, and how many messages it has sealed or opened. */
export class CipherState {
  #key;
  #count = 0;

  /** @param {CryptoKey} key */
  constructor(key) {
    this.#key = key;
  }

  /**
   * @param {Bytes} key
   * @returns {Promise<CipherState>}
   */
  static async of(key) {
    return new CipherState(await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["encrypt", "decrypt"]));
  }

  /** With a nonce of four zero bytes and the counter (Noise, section 12.4). @param {Bytes} bound */
  #next(bound) {
    const iv = new Uint8Array(12);
    new DataView(iv.buffer).setBigUint64(4, BigInt(this.#count++));
    return { name: "AES-GCM", iv, additionalData: bound };
  }

  /**
   * @param {Bytes} plaintext
   * @param {Bytes} [bound] bound to it, but not sent
   * @returns {Promise<Bytes>}
   */
  async seal(plaintext, bound = EMPTY) {
    return new Uint8Array(await crypto.subtle.encrypt(this.#next(bound), this.#key, plaintext));
  }

  /**
   * @param {Bytes} sealed
   * @param {Bytes} [bound]
   * @returns {Promise<Bytes>}
   * @throws {DOMException} if it was altered, repeated or reordered
   */
  async open(sealed, bound = EMPTY) {
    return new Uint8Array(await crypto.subtle.decrypt(this.#next(bound), this.#key, sealed));
  }
}

/**
 * A pair of keys for one handshake.
 * @returns {Promise<CryptoKeyPair>}
 */
export async function ephemeral() {
  return /** @type {CryptoKeyPair} */ (await crypto.subtle.generateKey("X25519", false, ["deriveBits"]));
}

/** The one who knows the other's key. Each message can be made and read once. */
export class Initiator {
  #hash;
  #chainingKey;
  /** @type {CipherState | null} */
  #cipher = null;
  #pair;
  #hostKey;
  #psk;

  /**
   * @param {Bytes} hash
   * @param {CryptoKeyPair} pair
   * @param {Bytes} hostKey
   * @param {Bytes} psk
   */
  constructor(hash, pair, hostKey, psk) {
    this.#hash = hash;
    this.#chainingKey = utf8(PROTOCOL);
    this.#pair = pair;
    this.#hostKey = hostKey;
    this.#psk = psk;
  }

  /**
   * @param {Bytes} prologue
   * @param {Bytes} hostKey
   * @param {Bytes} psk
   * @param {CryptoKeyPair} pair fresh for each handshake
   * @returns {Promise<Initiator>}
   */
  static async begin(prologue, hostKey, psk, pair) {
    // The name is 32 bytes long, so it is the first hash itself.
    const named = await sha256(concat(utf8(PROTOCOL), prologue));
    return new Initiator(await sha256(concat(named, hostKey)), pair, hostKey, psk);
  }

  /**
   * `-> psk, e, es`
   * @param {Bytes} payload
   * @returns {Promise<Bytes>}
   */
  async write(payload) {
    const [chain, hashed, key] = await this.#derive(this.#psk);
    this.#chainingKey = chain;
    await this.#mixHash(hashed);
    this.#cipher = await CipherState.of(key);
    const own = new Uint8Array(await crypto.subtle.exportKey("raw", this.#pair.publicKey));
    await this.#mixHash(own);
    await this.#mixKey(own);
    await this.#mixKey(await multiply(this.#pair.privateKey, this.#hostKey));
    const sealed = await this.#cipher.seal(payload, this.#hash);
    await this.#mixHash(sealed);
    return concat(own, sealed);
  }

  /**
   * `<- e, ee`
   * @param {Bytes} message
   * @returns {Promise<{ payload: Bytes, session: Keys }>}
   * @throws if it is not the answer of the host to our message
   */
  async read(message) {
    if (message.length < KEY_BYTES + TAG_BYTES) throw new RangeError("too short for a handshake message");
    const [theirs, sealed] = [message.slice(0, KEY_BYTES), message.slice(KEY_BYTES)];
    await this.#mixHash(theirs);
    await this.#mixKey(theirs);
    const cipher = await this.#mixKey(await multiply(this.#pair.privateKey, theirs));
    const payload = await cipher.open(sealed, this.#hash);
    await this.#mixHash(sealed);
    const [toHost, toClient] = await this.#derive(EMPTY);
    const [sealer, opener] = [await CipherState.of(toHost), await CipherState.of(toClient)];
    return { payload, session: { hash: this.#hash, sealer, opener } };
  }

  /** @param {Bytes} data */
  async #mixHash(data) {
    this.#hash = await sha256(concat(this.#hash, data));
  }

  /** @param {Bytes} secret */
  async #mixKey(secret) {
    const [chain, key] = await this.#derive(secret);
    this.#chainingKey = chain;
    this.#cipher = await CipherState.of(key);
    return this.#cipher;
  }

  /**
   * Three keys out of the chaining key and a secret; who needs two takes the first two.
   * @param {Bytes} secret
   * @returns {Promise<[Bytes, Bytes, Bytes]>}
   */
  async #derive(secret) {
    const all = await hkdf(this.#chainingKey, secret, EMPTY, 3 * KEY_BYTES);
    return [all.slice(0, KEY_BYTES), all.slice(KEY_BYTES, 2 * KEY_BYTES), all.slice(2 * KEY_BYTES)];
  }
}
