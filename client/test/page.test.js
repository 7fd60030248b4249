import assert from "node:assert/strict";
import { test } from "node:test";
import { LivepushClient } from "../src/index.js";
import { openPage } from "../src/page.js";
import { Clock, fake, stage } from "./helpers.js";

/** As much of a window as the client uses. */
class Page extends EventTarget {
  document = Object.assign(new EventTarget(), {
    readyState: "interactive",
    documentElement: { dataset: {} },
    querySelectorAll: (selector) => (selector === "script[data-livepush]" ? this.tags : []),
  });
  tags = [];

  tag(groups, position, url = "/live/") {
    const dataset = { url, groups: JSON.stringify(groups), ...(position && { position }) };
    this.tags.push({ dataset });
    return this;
  }

  fire(name) {
    this.dispatchEvent(new Event(name));
  }
}

/** Open a page whose client connects to a server that never answers; return what was asked for. */
function open(page, t) {
  const asked = [];
  t.mock.method(globalThis, "fetch", (url) => {
    asked.push(url.pathname + url.search);
    return new Promise(() => {});
  });
  openPage(page);
  t.after(() => page.livepush.stop());
  return asked;
}

test("the tags of a page add up to one client: all groups, the lowest position", (t) => {
  const page = new Page().tag(["board"], "a-9").tag(["board", "order:7"], "a-5").tag(["order:8"]);
  const asked = open(page, t);
  page.fire("DOMContentLoaded");
  page.fire("load");
  assert.deepEqual(asked, ["/live/sse/?format=envelope&group=board&group=order%3A7&group=order%3A8&since=a-5"]);
});

test("the client connects once the page's other scripts have run", (t) => {
  const page = new Page().tag(["board"], "a-9");
  const asked = open(page, t);
  assert.deepEqual([page.livepush.state, asked], ["idle", []]);
  page.fire("DOMContentLoaded");
  assert.equal(page.livepush.state, "connecting");
});

test("on a page that is complete it connects at once", (t) => {
  const page = new Page().tag(["board"]);
  page.document.readyState = "complete";
  assert.deepEqual(open(page, t), ["/live/sse/?format=envelope&group=board"]);
});

test("a second run starts no second client", (t) => {
  const page = new Page().tag(["board"], "a-9");
  const asked = open(page, t);
  const { livepush } = page;
  openPage(page);
  page.fire("DOMContentLoaded");
  openPage(page);
  assert.equal(page.livepush, livepush);
  assert.equal(asked.length, 1);
});

test("the page's client keeps what a script has put in its place before", (t) => {
  const page = new Page().tag(["board"]);
  const stream = () => {};
  page.livepush = { stream };
  open(page, t);
  assert.deepEqual([page.livepush.stream, page.livepush.state], [stream, "idle"]);
});

test("a tag that comes later adds its groups, from its position if that is lower", (t) => {
  const page = new Page().tag(["board"], "a-9");
  page.document.readyState = "complete";
  const asked = open(page, t);
  page.tag(["order:7"], "a-5");
  openPage(page);
  assert.equal(asked.at(-1), "/live/sse/?format=envelope&group=board&group=order%3A7&since=a-5");
});

test("a new body asks for what followed its own tag, the same body asks for nothing again", (t) => {
  const page = new Page().tag(["board", "order:7"], "a-9");
  page.document.readyState = "complete";
  const asked = open(page, t);
  page.livepush.scan();
  assert.equal(asked.length, 1);
  page.tags = [];
  page.tag(["board"], "a-8").livepush.scan();
  assert.deepEqual(asked.slice(1), ["/live/sse/?format=envelope&group=board&since=a-8"]);
});

/** Have a page hear an event that takes the client to a position. */
function tell(page, id) {
  Object.defineProperty(page.livepush, "position", { value: id, configurable: true });
  page.document.dispatchEvent(new CustomEvent("livepush:event", { detail: { id, group: "board" } }));
}

test("a tag keeps how far the client has come, for a copy of the body", (t) => {
  const page = new Page().tag(["board"], "a-9").tag(["order:7", "order:8"], "a-11");
  page.document.readyState = "complete";
  const asked = open(page, t);
  for (const id of ["a-10", undefined]) tell(page, id);
  assert.deepEqual(
    page.tags.map(({ dataset }) => dataset.position),
    ["a-10", "a-11"],
  );
  page.livepush.scan();
  assert.equal(asked.length, 1, "these are the tags that were there before");
});

test("a tag that a library has given other groups is read by the next scan, whatever has come before it", (t) => {
  const page = new Page().tag(["board", "order:7"], "a-5");
  page.document.readyState = "complete";
  const asked = open(page, t);
  const [{ dataset }] = page.tags;
  dataset.groups = '["board","order:8"]';
  tell(page, "a-6");
  page.livepush.scan();
  assert.equal(asked.at(-1), "/live/sse/?format=envelope&group=board&group=order%3A8&since=a-5");
});

test("before Turbo puts a copy of the body aside, each tag is told how far the client has come", (t) => {
  const page = new Page().tag(["board", "order:7"], "a-5").tag(["order:8"], "a-11").tag([], "a-5");
  page.document.readyState = "complete";
  open(page, t);
  Object.defineProperty(page.livepush, "position", { value: "a-8", configurable: true });
  page.fire("turbo:before-cache");
  assert.deepEqual(
    page.tags.map(({ dataset }) => dataset.position),
    ["a-8", "a-11", "a-8"],
  );
});

test("a tag whose groups are no list in JSON is named in the console, and the others are read", (t) => {
  const page = new Page().tag(["board"]).tag([]).tag([]).tag(["order:7"]);
  page.document.readyState = "complete";
  page.tags[1].dataset.groups = "[board]";
  page.tags[2].dataset.groups = "7";
  const told = [];
  t.mock.method(console, "error", (...what) => told.push(what));
  assert.deepEqual(open(page, t), ["/live/sse/?format=envelope&group=board&group=order%3A7"]);
  page.livepush.scan();
  tell(page, "a-6");
  assert.deepEqual(
    told.map(([message, tag, error]) => [message, tag, error.name]),
    [
      ["livepush: data-groups", page.tags[1], "SyntaxError"],
      ["livepush: data-groups", page.tags[2], "TypeError"],
    ],
  );
});

test("a tag that comes after stop() does not start the client again", (t) => {
  const page = new Page().tag(["board"]);
  page.document.readyState = "complete";
  const asked = open(page, t);
  page.livepush.stop();
  page.tag(["order:7"]);
  openPage(page);
  assert.deepEqual([page.livepush.state, asked.length], ["stopped", 1]);
});

test("a stopped client stays stopped when a body without a tag comes, and then one with a tag", (t) => {
  const clock = new Clock();
  clock.install();
  const page = new Page().tag(["board"]);
  page.document.readyState = "complete";
  const asked = open(page, t);
  page.livepush.stop();
  page.tags = [];
  page.livepush.scan();
  clock.advance(30);
  page.tag(["order:7"]).livepush.scan();
  clock.advance(30);
  assert.deepEqual([page.livepush.state, asked.length], ["stopped", 1]);
  page.livepush.start();
  assert.equal(asked.at(-1), "/live/sse/?format=envelope&group=order%3A7");
});

for (const name of ["turbo:load", "turbo:frame-load", "htmx:afterSettle", "htmx:after:swap"]) {
  test(`after ${name}, the groups of a tag that is gone are dropped`, (t) => {
    const clock = new Clock();
    clock.install();
    const page = new Page().tag(["board"], "a-5").tag(["order:7"], "a-5");
    page.document.readyState = "complete";
    const asked = open(page, t);
    page.tags.pop();
    page.fire(name);
    clock.advance(20);
    assert.deepEqual(asked.slice(1), ["/live/sse/?format=envelope&group=board&since=a-5"]);
  });
}

test("a tag that is gone is noticed although a library has kept a copy of another that was never read", (t) => {
  const clock = new Clock();
  clock.install();
  const page = new Page().tag(["board"], "a-5").tag(["order:7"], "a-5");
  page.document.readyState = "complete";
  const asked = open(page, t);
  page.tags.pop();
  page.tag(["board"], "a-5").fire("htmx:afterSettle");
  clock.advance(20);
  assert.deepEqual(asked.slice(1), ["/live/sse/?format=envelope&group=board&since=a-5"]);
});

test("a swap that takes no tag away is no new body: a page may have swapped because of one", (t) => {
  const page = new Page().tag(["board"]);
  open(page, t);
  page.livepush.scan = () => assert.fail("the inbox would tell the page that its counts may have changed");
  for (const name of ["turbo:frame-load", "htmx:afterSettle", "htmx:after:swap"]) page.fire(name);
});

test("a page that is put aside lets go of its connection, and takes it up when it is shown again", (t) => {
  const page = new Page().tag(["board"]);
  page.document.readyState = "complete";
  const asked = open(page, t);
  page.fire("pagehide");
  page.fire("visibilitychange");
  assert.equal(page.livepush.state, "paused");
  page.fire("pageshow");
  assert.deepEqual([page.livepush.state, asked.length], ["connecting", 2]);
});

test("coming online or into view tries at once", (t) => {
  const page = new Page().tag(["board"]);
  page.document.readyState = "complete";
  const asked = open(page, t);
  page.livepush.use("sse");
  for (const name of ["online", "visibilitychange"]) {
    page.livepush.cut();
    page.fire(name);
    assert.equal(page.livepush.state, "connecting");
  }
  assert.equal(asked.length, 4);
});

test("a page that the browser loads ahead connects once it is visited", (t) => {
  const page = new Page().tag(["board"], "a-5");
  Object.assign(page.document, { readyState: "complete", prerendering: true });
  fake(globalThis, { document: page.document });
  const asked = open(page, t);
  page.livepush.start();
  page.livepush.add(["order:7"], "a-5");
  assert.deepEqual([page.livepush.state, asked], ["idle", []]);
  page.document.prerendering = false;
  page.fire("prerenderingchange");
  assert.deepEqual(asked, ["/live/sse/?format=envelope&group=board&group=order%3A7&since=a-5"]);
});

for (const isStarted of [true, false]) {
  test(`a bundled client of such a page connects then ${isStarted ? "too" : "only if it was started"}`, (t) => {
    const document = Object.assign(new EventTarget(), { prerendering: true });
    fake(globalThis, { document });
    const { attempts, transports } = stage();
    const client = new LivepushClient({ url: "/live/", groups: ["board"], target: new EventTarget(), transports });
    t.after(() => client.stop());
    if (isStarted) client.start();
    assert.deepEqual(attempts, []);
    document.prerendering = false;
    document.dispatchEvent(new Event("prerenderingchange"));
    assert.equal(attempts.length, isStarted ? 1 : 0);
  });
}

test("a bundled client does not take the text that its tabs share for a login that the server knows", async (t) => {
  const posted = [];
  t.mock.method(globalThis, "fetch", async (_url, { body }) => {
    posted.push(JSON.parse(body));
    return new Response('{"ok": true}');
  });
  const { transports } = stage();
  const client = new LivepushClient({ url: "/live/", tabs: "ann", target: new EventTarget(), transports });
  await client.send("board", "chat", {}, { key: "k" });
  assert.deepEqual(posted, [{ group: "board", type: "chat", data: {}, key: "k" }]);
});

test("a bundled client leaves nothing on the document that would keep it in memory", (t) => {
  const document = Object.assign(new EventTarget(), { prerendering: false });
  const listen = t.mock.method(document, "addEventListener");
  fake(globalThis, { document });
  const { transports } = stage();
  const client = new LivepushClient({ url: "/live/", groups: ["board"], target: new EventTarget(), transports });
  client.start();
  client.stop();
  assert.equal(listen.mock.callCount(), 0);
});

test("a page that is visited while it still loads waits for its other deferred scripts", (t) => {
  const page = new Page().tag(["board"], "a-5");
  Object.assign(page.document, { readyState: "interactive", prerendering: true });
  fake(globalThis, { document: page.document });
  const asked = open(page, t);
  page.document.prerendering = false;
  page.fire("prerenderingchange");
  assert.deepEqual(asked, []);
});
