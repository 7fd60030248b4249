import assert from "node:assert/strict";
import { test } from "node:test";
import { createSender } from "../src/sending/main.js";
import { fake, told } from "./helpers.js";

/** Return a page that sends, and what it has posted. */
const postingPage = () => {
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
    const { sender, link, posted } = postingPage();
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
  const { sender, posted } = postingPage();
  const bytes = new Uint8Array(200_000).map((_, place) => place);
  assert.equal(await sender.send("room:a", "drawing", bytes), "taken");
  assert.deepEqual(Buffer.from(posted[0].data.$bytes, "base64"), Buffer.from(bytes));
});

test("a message is what it was when it was sent", async () => {
  const { sender, posted } = postingPage();
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

/** A page whose tags have these logins, and a sender; `posts` has what it sends, and how. */
function page(tabs, ...logins) {
  const tags = logins.map((login) => ({ dataset: { tabs: login } }));
  const target = Object.assign(new EventTarget(), { querySelectorAll: () => tags });
  const posts = [];
  fake(globalThis, {
    fetch: (_url, { body, keepalive }) =>
      new Promise((answer) => {
        const reply = () => answer(new Response(JSON.stringify({ ok: true, reply: null })));
        posts.push({ ...JSON.parse(body), keepalive, reply });
      }),
  });
  const sender = createSender({ url: "/livepush/", target, tabs, say: () => false });
  return { tags, target, posts, send: sender.send };
}

test("a message has the login that the page's newest tag had when it was sent", async () => {
  const { send, tags, posts } = page("ann", "ann");
  const sent = [send("room:1", "chat", "first"), send("room:1", "chat", "second")];
  tags.push({ dataset: { tabs: "ben" } }); // a new body of the page
  sent.push(send("room:1", "chat", "third"));
  for (let number = 0; number < 3; number++) {
    while (!posts[number]) await new Promise((done) => setImmediate(done));
    posts[number].reply();
    await sent[number];
  }
  assert.deepEqual(
    posts.map(({ data, login }) => [data, login]),
    [
      ["first", "ann"],
      ["second", "ann"],
      ["third", "ben"],
    ],
  );
});

test("a page without a session says so, and a client without tabs says nothing", async () => {
  for (const [tabs, ...logins] of [
    ["", ""],
    [undefined, "ann"],
  ]) {
    const { send, posts } = page(tabs, ...logins);
    send("room:1", "chat", "Hi").catch(() => {});
    await told();
    assert.equal(posts[0].login, tabs);
    posts[0].reply();
  }
});

test("a message outlives its page only if the browser allows it that many bytes", async () => {
  for (const [text, isKept] of [
    ["语".repeat(15_000), true],
    ["语".repeat(21_000), false],
    ["a".repeat(21_000), false],
  ]) {
    const { send, posts } = page("ann", "ann");
    const sent = send("room:1", "chat", text);
    await told();
    assert.deepEqual([text.length, posts[0].keepalive], [text.length, isKept]);
    posts[0].reply();
    await sent;
  }
});

/** Databases as far as the client uses them: what throws while a transaction is made aborts it. */
const databases = (stored) => ({
  open() {
    const opening = {};
    const transaction = {};
    const request = (result) => ({ result });
    let change = () => {};
    const messages = {
      getAll: () => request([...stored.values()]),
      count: () => Object.assign(transaction, { counted: request(stored.size + 1) }).counted,
      put(message) {
        change = () => stored.set(message.key, message);
        return request();
      },
      delete(key) {
        change = () => stored.delete(key);
        return request();
      },
    };
    transaction.objectStore = () => messages;
    opening.result = { transaction: () => transaction, close() {} };
    queueMicrotask(() => {
      opening.onsuccess();
      try {
        transaction.counted.onsuccess();
      } catch {
        return transaction.onabort();
      }
      change();
      transaction.oncomplete();
    });
    return opening;
  },
});

test("a message is kept although local storage is full, and goes out from the next page", async () => {
  const stored = new Map();
  const full = new Proxy({}, { set: () => false });
  fake(globalThis, { indexedDB: databases(stored), localStorage: full });
  const first = postingPage();
  fake(globalThis, { fetch: () => new Promise(() => {}) }); // the page is closed before the answer
  first.sender.send("room:a", "chat", "kept", { persist: true });
  await told();
  assert.deepEqual(
    [...stored.values()].map(({ data }) => data),
    ["kept"],
  );
  const { posted } = postingPage();
  await told();
  await new Promise((done) => setTimeout(done));
  assert.deepEqual(
    posted.map(({ data }) => data),
    ["kept"],
  );
});
