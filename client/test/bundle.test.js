import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInThisContext } from "node:vm";
import { gzipSync } from "node:zlib";
import { event, fake } from "./helpers.js";

const BUNDLE = new URL("../../livepush/static/livepush/livepush.js", import.meta.url);

const INBOX = new URL("../../livepush/static/livepush/inbox.js", import.meta.url);

const STREAMS = new URL("../../livepush/static/livepush/livepush-streams.js", import.meta.url);

const API =
  "add cut groups on pause pending position refused remove role scan send start state stop transport use wake".split(
    " ",
  );

test("the committed bundle is what the sources make", () => {
  execFileSync(process.execPath, [fileURLToPath(new URL("../build.js", import.meta.url)), "--verify"]);
});

test("the bundle is small, and free of what a strict policy for content or trusted types forbids", () => {
  const source = readFileSync(BUNDLE, "utf8");
  const size = gzipSync(source, { level: 9 }).length;
  assert.ok(size <= 6530, `${size} bytes`);
  const told = readFileSync(new URL("../../docs/client.md", import.meta.url), "utf8");
  assert.ok(
    told.includes(`| **livepush** | ${size.toLocaleString("en")} |`),
    `docs/client.md has not ${size} bytes`,
  );
  assert.doesNotMatch(source, /innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|\bFunction\(/);
  assert.ok(source.startsWith("/*! livepush "));
  assert.ok(source.endsWith("//# sourceMappingURL=livepush.js.map\n"));
});

test("the client and the inbox's elements are small together, and as free of what a strict policy forbids", () => {
  const source = readFileSync(INBOX, "utf8");
  const size = gzipSync(source, { level: 9 }).length;
  assert.ok(size <= 13030, `${size} bytes`);
  const told = readFileSync(new URL("../../docs/inbox.md", import.meta.url), "utf8");
  assert.ok(told.includes(`: ${size.toLocaleString("en")} bytes`), `docs/inbox.md has not ${size} bytes`);
  assert.doesNotMatch(source, /innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|\bFunction\(/);
  assert.ok(source.startsWith("/*! livepush "));
  assert.ok(source.endsWith("//# sourceMappingURL=inbox.js.map\n"));
});

test("the script that reads streams is small, and as free of what a strict policy forbids", () => {
  const source = readFileSync(STREAMS, "utf8");
  const size = gzipSync(source, { level: 9 }).length;
  assert.ok(size <= 1500, `${size} bytes`);
  const told = readFileSync(new URL("../../docs/streams.md", import.meta.url), "utf8");
  assert.ok(told.includes(`${size.toLocaleString("en")} bytes`), `docs/streams.md has not ${size} bytes`);
});

test("what follows members is small, loaded by itself, and as free of what a strict policy forbids", () => {
  const source = readFileSync(
    new URL("../../livepush/static/livepush/livepush-presence.js", import.meta.url),
    "utf8",
  );
  assert.ok(gzipSync(source, { level: 9 }).length <= 1500);
  assert.doesNotMatch(source, /innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|\bFunction\(|import\(/);
});

test("the bundle gives a page its client, which receives what a server sends", async (t) => {
  const tag = { dataset: { url: "/live/", groups: '["board"]', position: "a-5", tabs: "me", most: "100" } };
  const document = Object.assign(new EventTarget(), {
    readyState: "complete",
    documentElement: { dataset: {} },
    querySelectorAll: (selector) => (selector === "script[data-livepush]" ? [tag] : []),
  });
  const window = Object.assign(new EventTarget(), { document });
  const asked = [];
  const hello = {
    type: "livepush.hello",
    protocol: 1,
    position: "a-5",
    heartbeat: 15,
    groups: ["board"],
    refused: [],
  };
  fake(globalThis, {
    window,
    CSS: { escape: (text) => text },
    fetch: async (url, { signal }) => {
      asked.push(url.href);
      const stream = new ReadableStream({
        start(controller) {
          signal.addEventListener("abort", () => controller.error(signal.reason));
          for (const each of [hello, event("a-6")]) {
            controller.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(each)}\n\n`));
          }
        },
      });
      return new Response(stream, { headers: { "content-type": "text/event-stream" } });
    },
  });
  const heard = new Promise((resolve) => {
    document.addEventListener("livepush:event:note", ({ detail }) => resolve(detail));
  });

  runInThisContext(readFileSync(BUNDLE, "utf8"));
  const { livepush } = window;
  t.after(() => livepush.stop());
  assert.deepEqual(Object.keys(livepush).sort(), API);
  assert.deepEqual(await heard, event("a-6"));
  assert.deepEqual(asked, ["https://shop.example/live/sse/?format=envelope&group=board&since=a-5"]);
  const { state, transport, role, position, groups, refused } = livepush;
  assert.deepEqual(
    { state, transport, role, position, groups, refused },
    { state: "open", transport: "sse", role: "alone", position: "a-6", groups: ["board"], refused: [] },
  );
  assert.equal(document.documentElement.dataset.livepushState, "open");
  assert.throws(() => livepush.use("pigeon"), /expected sse, websocket, longpoll, poll or null/);
});
