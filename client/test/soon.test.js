import assert from "node:assert/strict";
import { test } from "node:test";
import { soon } from "../src/soon.js";
import { Clock, fake, told } from "./helpers.js";

/** A clock that `soon` goes by. */
function begin() {
  const clock = new Clock();
  clock.install();
  fake(performance, { now: () => clock.time });
  return clock;
}

test("work that is asked for again and again begins at once, and then every 700 ms", async () => {
  const clock = begin();
  const begun = [];
  const start = clock.time;
  const ask = soon(() => begun.push(clock.time - start));
  for (let time = 0; time < 300; time++) {
    if (time < 200) ask(30);
    clock.advance(10);
    await told();
  }
  assert.deepEqual(begun, [30, 730, 1430, 2130]);
});

test("work begins again although an earlier one is never done", () => {
  const clock = begin();
  let begun = 0;
  const ask = soon(() => {
    begun++;
    return new Promise(() => {});
  });
  for (let time = 0; time < 5; time++) {
    ask(0);
    clock.advance(1000);
  }
  assert.equal(begun, 5);
});
