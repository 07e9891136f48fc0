/**
 * Bytes, and the text that carries them.
 * @module
 */

/** @import { Bytes } from "./shapes.js" */

/**
 * One after the other.
 * @param {...Bytes} parts
 * @returns {Bytes}
 */
export function concat(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/**
 * @param {string} text
 * @returns {Bytes}
 */
export function utf8(text) {
  return new TextEncoder().encode(text);
}

/**
 * base64url without padding (RFC 4648, section 5).
 * @param {Bytes} bytes
 * @returns {string}
 */
export function toBase64(bytes) {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/**
 * @param {unknown} text
 * @returns {Bytes | null} null for anything but canonical base64url
 */
export function fromBase64(text) {
  if (typeof text !== "string" || !/^[\w-]*$/.test(text) || text.length % 4 === 1) return null;
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
  // The last letter may carry bits that belong to no byte.
  return toBase64(bytes) === text ? bytes : null;
}
