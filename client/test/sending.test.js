import assert from "node:assert/strict";
import { test } from "node:test";
import { createSender } from "../src/sending/main.js";
import { fake, hurry, told } from "./helpers.js";

/** Return a page that sends, and what it has posted; its client says whose kept messages are. */
const postingPage = (owner = "ann") => {
  const posted = [];
  fake(globalThis, {
    location: { href: "https://shop.example/" },
    fetch: async (_, { body }) => {
      posted.push(JSON.parse(body));
      return new Response('{"ok": true, "reply": "taken"}');
    },
  });
  const link = { target: new EventTarget(), url: "/live/", owner, say: () => false };
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

/**
 * Databases as far as the client uses them: they number what is put, and return it in that order. What throws while a
 * transaction is made aborts it.
 */
const databases = (stored) => ({
  open() {
    const opening = {};
    const transaction = {};
    const request = (result) => ({ result });
    let change = () => {};
    const messages = {
      getAll: () => request([...stored.values()].map((each) => structuredClone(each))),
      count: () => Object.assign(transaction, { counted: request(stored.size + 1) }).counted,
      put(message) {
        stored.numbers = (stored.numbers ?? 0) + 1;
        const id = stored.numbers;
        const copy = structuredClone({ ...message, id });
        change = () => stored.set(id, copy);
        return request(id);
      },
      delete(id) {
        change = () => stored.delete(id);
        return request();
      },
    };
    transaction.objectStore = () => messages;
    opening.result = { transaction: () => transaction, close() {} };
    setTimeout(() => {
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

/** Wait for something, for as long as the test may take. */
const until = async (isSo) => {
  while (!isSo()) await new Promise((done) => setTimeout(done));
};

/** A page of somebody's that is closed before its messages are answered. */
const closedPageOf = (owner, ...sends) => {
  const { sender } = postingPage(owner);
  fake(globalThis, { fetch: () => new Promise(() => {}) });
  for (const what of sends) sender.send(...what);
};

const closedPage = (...sends) => closedPageOf("ann", ...sends);

/** Return what the next page posts. */
const nextPagePosts = async (count) => {
  const { posted, link } = postingPage();
  await until(() => posted.length === count && link.pending?.length === 0);
  return posted.map(({ group, type, data }) => [group, type, data]);
};

/** Have a browser that keeps messages; return what it has. */
const browser = () => {
  const stored = new Map();
  fake(globalThis, { indexedDB: databases(stored), localStorage: {} });
  return stored;
};

test("a message is kept although local storage is full, and goes out from the next page", async () => {
  const stored = browser();
  fake(globalThis, { localStorage: new Proxy({}, { set: () => false }) });
  closedPage(["room:a", "chat", "kept", { persist: true }]);
  await until(() => stored.size);
  assert.deepEqual(await nextPagePosts(1), [["room:a", "chat", "kept"]]);
  await until(() => !stored.size);
});

class Money {
  toJSON() {
    return "12.50";
  }
}

for (const [name, data, then, sent] of [
  [
    "which change after the call",
    { text: "Hello" },
    (data) => Object.assign(data, { text: "" }),
    { text: "Hello" },
  ],
  ["which are a proxy, as frameworks make them", new Proxy({ text: "Hello" }, {}), () => {}, { text: "Hello" }],
  ["which say themselves how JSON has them", { amount: new Money() }, () => {}, { amount: "12.50" }],
  ["which are bytes", new Uint8Array([1, 2]), (data) => data.fill(0), { $bytes: "AQI=" }],
]) {
  test(`data ${name}, are kept, listed, posted and answered as they were sent`, async () => {
    const stored = browser();
    const { sender, link, posted } = postingPage();
    const shown = sent.$bytes ? new Uint8Array([1, 2]) : sent;
    const listed = new Promise((done) => link.target.addEventListener("livepush:pending", done, { once: true }));
    const answered = new Promise((done) => link.target.addEventListener("livepush:answered", done));
    const { fetch } = globalThis;
    let goOn;
    const held = new Promise((done) => {
      goOn = done;
    });
    fake(globalThis, { fetch: (...what) => held.then(() => fetch(...what)) });
    const answer = sender.send("room:a", "chat", data, { persist: true });
    then(data);
    await until(() => stored.size);
    assert.deepEqual((await listed).detail.pending[0].data, shown);
    assert.deepEqual(
      [...stored.values()].map((each) => each.data),
      [shown],
    );
    assert.deepEqual(await nextPagePosts(1), [["room:a", "chat", sent]]);
    goOn();
    await answer;
    assert.deepEqual((await answered).detail.data, shown);
    assert.deepEqual(posted[0].data, sent);
  });
}

test("a client that does not say whose it is keeps nothing, and no message goes out in another's name", async () => {
  const stored = browser();
  closedPageOf(null, ["room:a", "chat", "nobody's", { persist: true }]);
  closedPageOf("ann", ["room:a", "chat", "ann's", { persist: true }]);
  await until(() => stored.size);
  for (const owner of [null, "ben"]) {
    assert.deepEqual(
      [...stored.values()].map(({ data }) => data),
      ["ann's"],
    );
    const { sender, posted } = postingPage(owner);
    await sender.send("room:a", "chat", "new");
    assert.deepEqual(
      posted.map(({ data }) => data),
      ["new"],
    );
  }
  await until(() => !stored.size);
});

test("messages with one key in two groups, or of two types, are all kept", async () => {
  const stored = browser();
  const options = { persist: true, key: "k" };
  closedPage(["room:a", "chat", 1, options], ["room:b", "chat", 2, options], ["room:a", "note", 3, options]);
  await until(() => stored.size === 3);
  const posts = await nextPagePosts(3);
  assert.deepEqual(posts.sort(), [
    ["room:a", "chat", 1],
    ["room:a", "note", 3],
    ["room:b", "chat", 2],
  ]);
  await until(() => !stored.size);
});

test("messages with one key in two groups get the answers of their own over a WebSocket", async () => {
  const { sender, link } = postingPage();
  const said = [];
  link.say = (text) => said.push(JSON.parse(text));
  const first = sender.send("room:a", "chat", "to a", { key: "k" });
  const second = sender.send("room:b", "chat", "to b", { key: "k" });
  await until(() => said.length === 2);
  const [{ ref: one }, { ref: other }] = said;
  link.onReply({ ref: other, ok: false, code: "forbidden", message: "no" });
  link.onReply({ ref: one, ok: true, reply: "for a" });
  assert.equal(await first, "for a");
  await assert.rejects(second, { code: "forbidden" });
});

test("a command's ref is short, however long the key", async () => {
  const { sender, link } = postingPage();
  link.say = (text) => {
    const { ref, key } = JSON.parse(text);
    queueMicrotask(() => link.onReply({ ref, ok: true, reply: [`${ref}`.length < 10, key.length] }));
    return true;
  };
  for (const length of [100, 101, 200]) {
    assert.deepEqual(await sender.send("room:a", "chat", "x", { key: "語".repeat(length) }), [true, length]);
  }
});

test("an ephemeral message whose answer does not come is not sent again", async () => {
  const { sender, link, posted } = postingPage();
  link.say = () => true;
  const sent = sender.send("room:a", "typing", null, { ephemeral: true });
  await told();
  link.target.dispatchEvent(new CustomEvent("livepush:state", { detail: { state: "open" } }));
  assert.equal(await sent, undefined);
  assert.deepEqual(posted, []);
});

test("what is too large for the WebSocket's server goes over HTTP at once", async () => {
  const { sender, link, posted } = postingPage();
  link.say = () => {
    queueMicrotask(() => link.onReply({ ref: null, ok: false, code: "too_large", message: "over" }));
    return true;
  };
  const begun = performance.now();
  assert.equal(await sender.send("room:a", "chat", "large"), "taken");
  assert.ok(performance.now() - begun < 4000);
  assert.equal(posted.length, 1);
});

/** Return a page, and the answers that it got, where something between it and its server has a status for one message. */
const pageBehind = (status) => {
  const answers = [];
  fake(globalThis, {
    location: { href: "https://shop.example/" },
    fetch: async (_, { body }) => {
      if (!body.includes("attack")) return new Response('{"ok": true, "reply": "taken"}');
      answers.push(status);
      return new Response("<h1>Blocked</h1>", { status });
    },
  });
  return { sender: createSender({ target: new EventTarget(), url: "/live/", say: () => false }), answers };
};

for (const [status, code] of [
  [413, "too_large"],
  [403, "blocked"],
  [406, "blocked"],
]) {
  test(`a message that a proxy answers with ${status} for long is refused, and the next one goes out`, async () => {
    hurry(10_000);
    let now = 0;
    fake(Date, { now: () => (now += code === "blocked" ? 50_000 : 0) });
    const { sender, answers } = pageBehind(status);
    const refused = assert.rejects(sender.send("room:a", "chat", "attack"), { code, message: RegExp(status) });
    assert.equal(await sender.send("room:a", "chat", "after"), "taken");
    await refused;
    assert.ok(answers.length >= 8);
  });
}

for (const status of [200, 401, 403, 404, 429, 502, 503]) {
  test(`a message that a proxy answers with ${status} goes out later`, async () => {
    hurry(10_000);
    const { sender, answers } = pageBehind(status);
    const sent = sender.send("room:a", "chat", "attack");
    await until(() => answers.length === 12);
    fake(globalThis, { fetch: async () => new Response('{"ok": true, "reply": "taken"}') });
    assert.equal(await sent, "taken");
  });
}

test("kept messages go out in the order in which they were sent, whatever the clock says", async () => {
  const stored = browser();
  let now = 5;
  fake(performance, { timeOrigin: 1000, now: () => now });
  const sent = [1, 2, 3, 4, 5, 6];
  closedPage(...sent.map((each) => ["room:a", "chat", each, { persist: true }]));
  await until(() => stored.size === 6);
  now = -500;
  closedPage(["room:a", "chat", 7, { persist: true }]);
  await until(() => stored.size === 7);
  const posts = await nextPagePosts(7);
  assert.deepEqual(
    posts.map(([, , data]) => data),
    [...sent, 7],
  );
});

test("what a page sends comes after what an earlier page has left", async () => {
  const stored = browser();
  closedPage(["room:a", "chat", "old", { persist: true }]);
  await until(() => stored.size);
  const { sender, posted } = postingPage();
  await sender.send("room:a", "chat", "new");
  assert.deepEqual(
    posted.map(({ data }) => data),
    ["old", "new"],
  );
});

test("a database that never answers holds a message up for a moment only", async () => {
  fake(globalThis, { indexedDB: { open: () => ({}) }, localStorage: {} });
  hurry(100);
  const { sender, link } = postingPage();
  const sent = sender.send("room:a", "chat", "new");
  assert.deepEqual(
    link.pending.map(({ data }) => data),
    ["new"],
  );
  assert.equal(await sent, "taken");
  assert.deepEqual(link.pending, []);
});

for (const [name, data] of [
  ["an ArrayBuffer", new Uint8Array([1, 2]).buffer],
  ["a part of a buffer", new DataView(new Uint8Array([0, 1, 2, 3]).buffer, 1, 2)],
  ["a clamped array", new Uint8ClampedArray([1, 2])],
  ["an array of larger numbers", new Uint16Array(new Uint8Array([1, 2]).buffer)],
]) {
  test(`bytes go out from ${name}`, async () => {
    const { sender, posted } = postingPage();
    await sender.send("room:a", "drawing", data);
    assert.deepEqual(posted[0].data, { $bytes: "AQI=" });
  });
}

for (const [name, data] of [
  ["a Blob", new Blob(["x"])],
  ["an object with a Blob", { photo: new Blob(["x"]) }],
  ["an object with bytes", { photo: new Uint8Array([1]) }],
]) {
  test(`${name} is refused at once`, async () => {
    const { sender, posted } = postingPage();
    await assert.rejects(sender.send("room:a", "drawing", data), { code: "bad_event", message: /no Blob/ });
    assert.deepEqual(posted, []);
  });
}
