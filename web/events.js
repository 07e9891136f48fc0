/**
 * What tells of things as they happen.
 * @module
 */

/** Its events carry what they tell in `detail`. */
export class Teller extends EventTarget {
  /**
   * @param {string} type of event
   * @param {(detail: any) => void} act
   */
  on(type, act) {
    this.addEventListener(type, (event) => act(/** @type {CustomEvent} */ (event).detail));
  }

  /** @param {string} type @param {unknown} [detail] */
  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
