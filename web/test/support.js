/** What several tests use. */

/** @param {string} text */
export function bytes(text) {
  return Uint8Array.from(text.replace(/\s/g, "").match(/../g) ?? [], (byte) => parseInt(byte, 16));
}

/** @param {Uint8Array} data */
export function hex(data) {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Numbers from 0 to below 1, the same for the same seed (mulberry32). */
export function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** An integer from 0 to below this. */
export function below(next, end) {
  return Math.floor(next() * end);
}

/** Whatever is to be done after what is done now. */
export function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Takes items as a program does, one at a time, and remembers them. */
export class Program {
  items = [];
  failures = [];
  isDone = false;
  #isWaiting = false;

  constructor(stream) {
    this.stream = stream;
  }

  async take(most) {
    for (let i = 0; i < most && !this.#isWaiting && !this.isDone; i += 1) {
      this.#isWaiting = true;
      this.stream.next().then(
        ({ done, value }) => {
          this.#isWaiting = false;
          if (done) this.isDone = true;
          else this.items.push(value);
        },
        (error) => {
          this.#isWaiting = false;
          this.failures.push(error);
        },
      );
      await settled();
    }
  }
}

export function numbered(n, length) {
  const item = new Uint8Array(Math.max(length, 4)).fill(n);
  new DataView(item.buffer).setUint32(0, n);
  return item;
}
