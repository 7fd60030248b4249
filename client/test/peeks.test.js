import assert from "node:assert/strict";
import { test } from "node:test";
import * as fallback from "../src/fallback.js";
import { play, told } from "./helpers.js";

/** The script that polls, when it comes. */
function later() {
  let come;
  const script = new Promise((done) => {
    come = done;
  });
  return { script, bring: () => come(fallback) };
}

test("when the script comes at last, one poll fetches what is owed, not one for each attempt before", async () => {
  const { script, bring } = later();
  const { client, clock, attempts } = play({
    names: ["sse", "websocket", "longpoll", "poll"],
    position: "a-5",
    load: () => script,
    random: () => 0.5,
  });
  client.start();
  clock.advance(10 * 60_000); // a server that takes connections and answers nothing
  while (attempts.at(-1).closed) clock.advance(100);
  const before = attempts.length;
  bring();
  await told();
  const polls = attempts.slice(before).filter(({ name }) => name === "poll").length;
  assert.ok(polls <= 1, `${polls} polls at once`);
});

test("a tab that is looked at often while the script is on its way polls once when it comes", async () => {
  const { script, bring } = later();
  const { client, clock, attempts, last } = play({
    names: ["sse", "websocket", "longpoll", "poll"],
    position: "a-5",
    load: () => script,
  });
  client.start();
  last().hello();
  for (let i = 0; i < 20; i++) {
    clock.advance(6000);
    client.wake(false);
    last().heard();
  }
  const before = attempts.length;
  bring();
  await told();
  assert.equal(attempts.slice(before).filter(({ name }) => name === "poll").length, 1);
});
