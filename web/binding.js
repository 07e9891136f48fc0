/**
 * The proof that a DTLS transport belongs to a sealed channel: docs/control.md, section 3.
 * @module
 */

import { concat, utf8 } from "./bytes.js";
import { hkdf } from "./noise.js";

/** @import { Bytes } from "./shapes.js" */

const INFO = utf8("LLLSI transport binding");
/** Of the sender: six bytes. */
const ROLES = { client: utf8("client"), host: utf8("host  ") };

/** Makes and checks proofs. */
export class Binding {
  #key;

  /** @param {CryptoKey} key */
  constructor(key) {
    this.#key = key;
  }

  /**
   * @param {Bytes} hash of the Noise handshake
   * @param {Bytes} clientNonce
   * @param {Bytes} hostNonce
   * @returns {Promise<Binding>}
   */
  static async of(hash, clientNonce, hostNonce) {
    const key = await hkdf(hash, concat(clientNonce, hostNonce), INFO, 32);
    const algorithm = { name: "HMAC", hash: "SHA-256" };
    return new Binding(await crypto.subtle.importKey("raw", key, algorithm, false, ["sign", "verify"]));
  }

  /**
   * @param {keyof typeof ROLES} role
   * @param {Bytes} client SHA-256 of the client's certificate
   * @param {Bytes} host SHA-256 of the host's certificate
   */
  #claim(role, client, host) {
    const length = new Uint8Array(8);
    length[7] = 32;
    return concat(ROLES[role], length, client, length, host);
  }

  /**
   * Our proof.
   * @param {Bytes} client
   * @param {Bytes} host
   * @returns {Promise<Bytes>}
   */
  async prove(client, host) {
    return new Uint8Array(await crypto.subtle.sign("HMAC", this.#key, this.#claim("client", client, host)));
  }

  /**
   * Whether this is the host's proof. Takes the same time for all wrong ones.
   * @param {Bytes} client
   * @param {Bytes} host
   * @param {Bytes} mac
   * @returns {Promise<boolean>}
   */
  verify(client, host, mac) {
    return crypto.subtle.verify("HMAC", this.#key, mac, this.#claim("host", client, host));
  }
}
