/**
 * The host's clock as this page sees it: docs/control.md, section 4.3. All times are microseconds.
 * @module
 */

/** Samples kept: ten seconds at five a second. */
const SAMPLES = 50;
/** The shortest delay of a path is looked for over two of these. */
const WINDOW_US = 5_000_000;

/** Now, on our clock. */
export function nowUs() {
  return Math.round(performance.now() * 1000);
}

/** The offset between two clocks: the sample with the shortest round trip is the least disturbed. */
export class ClockSync {
  /** @type {{ rttUs: number, offsetUs: number }[]} */
  #samples = [];

  /**
   * A ping's three times: sent and answered on our clock, received on the host's.
   * @param {number} sentUs
   * @param {number} hostUs
   * @param {number} answeredUs
   */
  sample(sentUs, hostUs, answeredUs) {
    const rttUs = answeredUs - sentUs;
    if (!(rttUs >= 0)) return;
    if (this.#samples.length === SAMPLES) this.#samples.shift();
    this.#samples.push({ rttUs, offsetUs: hostUs - (sentUs + rttUs / 2) });
  }

  get #best() {
    let best = this.#samples[0] ?? null;
    for (const sample of this.#samples) if (best && sample.rttUs < best.rttUs) best = sample;
    return best;
  }

  /** The shortest recent round trip; null before the first. */
  get rttUs() {
    return this.#best?.rttUs ?? null;
  }

  /**
   * How long ago, at our time `atUs`, the host's clock showed `hostUs`; null while that is unknown.
   * @param {number} hostUs
   * @param {number} atUs
   * @returns {number | null}
   */
  ageUs(hostUs, atUs) {
    const best = this.#best;
    return best && atUs + best.offsetUs - hostUs;
  }
}

/** How far delays stand above the shortest of the last five to ten seconds. */
export class DelayWindow {
  #previous = Infinity;
  #current = Infinity;
  #turnUs = -Infinity;

  /**
   * @param {number} atUs
   * @param {number} delayUs in a clock difference that is unknown but constant
   * @returns {number}
   */
  aboveShortest(atUs, delayUs) {
    if (atUs >= this.#turnUs) {
      // After a long rest clocks have drifted apart.
      this.#previous = atUs < this.#turnUs + WINDOW_US ? this.#current : Infinity;
      this.#current = Infinity;
      this.#turnUs = atUs + WINDOW_US;
    }
    this.#current = Math.min(this.#current, delayUs);
    return Math.max(delayUs - Math.min(this.#previous, this.#current), 0);
  }
}
