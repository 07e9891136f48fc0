import assert from "node:assert/strict";
import { test } from "node:test";

import { noPath } from "../permissions.js";

/** @param {Record<string, string>} states of permissions that this browser knows */
function browser(states) {
  const query = async (/** @type {{ name: string }} */ { name }) => {
    if (!(name in states)) throw new TypeError("not a known permission");
    return { state: states[name] };
  };
  Object.defineProperty(globalThis, "navigator", { value: { permissions: { query } }, configurable: true });
}

test("a browser that may not reach the local network says so", async () => {
  for (const [states, code] of /** @type {[Record<string, string>, string][]} */ ([
    [{}, "no_path"],
    [{ "local-network": "granted" }, "no_path"],
    [{ "local-network": "prompt" }, "no_path"],
    [{ "local-network": "denied" }, "local_network"],
    [{ "local-network-access": "denied" }, "local_network"],
  ])) {
    browser(states);
    assert.equal((await noPath()).code, code);
  }
  Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });
  assert.equal((await noPath()).code, "no_path");
});
