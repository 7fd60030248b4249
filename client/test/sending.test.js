import assert from "node:assert/strict";
import { test } from "node:test";
import { createSender } from "../src/sending/main.js";
import { fake } from "./helpers.js";

/** Return a page that sends, and what it has posted. */
const page = () => {
  const posted = [];
  fake(globalThis, {
    location: { href: "https://shop.example/" },
    fetch: async (_, { body }) => {
      posted.push(JSON.parse(body));
      return new Response('{"ok": true, "reply": "taken"}');
    },
  });
  const link = { target: new EventTarget(), url: "/live/", say: () => false };
  return { sender: createSender(link), link, posted };
};

const circle = {};
circle.itself = circle;

for (const [name, data] of [
  ["a number that JSON has not", { n: 10n }],
  ["a circle", circle],
]) {
  test(`${name} is refused at once, and the messages after it go out`, async () => {
    const { sender, link, posted } = page();
    const options = [{}, { persist: true }, { ephemeral: true }];
    for (const each of options) {
      await assert.rejects(sender.send("room:a", "chat", data, each), {
        code: "bad_event",
        message: /can't be JSON/,
      });
    }
    assert.equal(await sender.send("room:a", "chat", "after"), "taken");
    assert.deepEqual(
      posted.map((each) => each.data),
      ["after"],
    );
    assert.deepEqual(link.pending, []);
  });
}

test("many bytes go out", async () => {
  const { sender, posted } = page();
  const bytes = new Uint8Array(200_000).map((_, place) => place);
  assert.equal(await sender.send("room:a", "drawing", bytes), "taken");
  assert.deepEqual(Buffer.from(posted[0].data.$bytes, "base64"), Buffer.from(bytes));
});

test("a message is what it was when it was sent", async () => {
  const { sender, posted } = page();
  const data = { text: "Hello" };
  const answer = sender.send("room:a", "chat", data, { key: "k" });
  data.text = 7n;
  assert.equal(await answer, "taken");
  assert.equal(await sender.send("room:a", "ping"), "taken");
  assert.deepEqual(posted, [
    { group: "room:a", type: "chat", data: { text: "Hello" }, key: "k" },
    { group: "room:a", type: "ping", key: posted[1].key },
  ]);
});
