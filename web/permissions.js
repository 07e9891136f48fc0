/**
 * What this browser may do here.
 * @module
 */

import { Failure } from "./failure.js";

/** As they are called in the Local Network Access draft of the WICG, and were before. */
const LOCAL_NETWORK = ["local-network", "local-network-access"];

/**
 * Why no path was found, as far as this browser tells.
 * @returns {Promise<Failure>}
 */
export async function noPath() {
  for (const name of LOCAL_NETWORK) {
    // Browsers refuse names that they do not know.
    const query = navigator.permissions?.query({ name: /** @type {PermissionName} */ (name) });
    const permission = await query?.catch(() => null);
    if (permission?.state === "denied") return new Failure("local_network");
  }
  return new Failure("no_path");
}
