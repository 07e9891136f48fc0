import assert from "node:assert/strict";
import { test } from "node:test";

import { Queue } from "../queue.js";
import { below, random } from "./support.js";

test("what comes first goes first, however much comes", () => {
  const next = random(1);
  const queue = new Queue();
  const model = [];
  for (let step = 0; step < 30_000; step += 1) {
    const isFilling = step % 10_000 < 5000;
    if (next() < (isFilling ? 0.9 : 0.2)) model.push((queue.push(step), step));
    else if (next() < 0.05) {
      const at = model.findIndex((item) => item % 3 === 0);
      if (at >= 0) model.splice(at, 1);
      queue.remove((item) => item % 3 === 0);
    } else assert.equal(queue.shift(), model.shift());
    const at = below(next, 100);
    assert.deepEqual([queue.length, queue.at(at), queue.at(-1)], [model.length, model[at], undefined]);
  }
});
