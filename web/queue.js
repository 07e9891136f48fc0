/**
 * First in, first out, of any length: an array takes longer to lose its first element the longer it is.
 * @module
 */

/** Elements that are gone before the array is cut. */
const SLACK = 1024;

/** @template T */
export class Queue {
  /** @type {(T | undefined)[]} */
  #items = [];
  #first = 0;

  get length() {
    return this.#items.length - this.#first;
  }

  /** @param {T} item */
  push(item) {
    this.#items.push(item);
  }

  /** @param {number} index @returns {T | undefined} */
  at(index) {
    return index < 0 ? undefined : this.#items[this.#first + index];
  }

  /** @returns {T | undefined} */
  shift() {
    const item = this.#items[this.#first];
    if (this.length === 0) return undefined;
    this.#items[this.#first] = undefined;
    this.#first += 1;
    if (this.#first > SLACK && 2 * this.#first > this.#items.length) {
      this.#items.splice(0, this.#first);
      this.#first = 0;
    }
    return item;
  }

  /** Takes out the first for which this holds. @param {(item: T) => boolean} holds */
  remove(holds) {
    const at = this.#items.findIndex((item) => item !== undefined && holds(item));
    if (at >= 0) this.#items.splice(at, 1);
  }
}
