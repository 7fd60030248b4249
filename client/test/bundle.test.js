import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInThisContext } from "node:vm";
import { gzipSync } from "node:zlib";
import { event, fake } from "./helpers.js";

const STATIC = new URL("../../livepush/static/livepush/", import.meta.url);

const FORBIDDEN = /innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|\bFunction\(/;

const API =
  "add cut groups on pause pending position refused remove role scan send start state stop transport use wake".split(
    " ",
  );

test("the committed bundle is what the sources make", () => {
  execFileSync(process.execPath, [fileURLToPath(new URL("../build.js", import.meta.url)), "--verify"]);
});

/** The most bytes, gzipped, that a script may have, and the page of the manual that tells how many it has. */
const SIZES = {
  "livepush.js": [5500, "client.md"],
  "livepush-fallback.js": [1880, "client.md"],
  "livepush-attributes.js": [930, "client.md"],
  "livepush-send.js": [2520, "messages.md"],
  "inbox.js": [9500, "inbox.md"],
  "livepush-list.js": [4470, "inbox.md"],
  "livepush-streams.js": [1720, "streams.md"],
};

for (const [name, [limit, page]] of Object.entries(SIZES)) {
  test(`${name} is small, and free of what a strict policy for content or trusted types forbids`, () => {
    const source = readFileSync(new URL(name, STATIC), "utf8");
    const size = gzipSync(source, { level: 9 }).length;
    assert.ok(size <= limit, `${size} bytes`);
    const told = readFileSync(new URL(`../../docs/${page}`, import.meta.url), "utf8");
    assert.ok(told.includes(size.toLocaleString("en")), `docs/${page} has not ${size} bytes`);
    assert.doesNotMatch(source, FORBIDDEN);
    assert.ok(source.startsWith("/*! livepush "));
    assert.ok(source.endsWith(`//# sourceMappingURL=${name}.map\n`));
  });
}

test("the events of a stream's element tell of its parts by the names that pages know", () => {
  const source = readFileSync(new URL("livepush-streams.js", STATIC), "utf8");
  assert.match(source, /detail:\{stream:\w+,part:\w+\}/);
});

test("what follows members is small, loaded by itself, and as free of what a strict policy forbids", () => {
  const source = readFileSync(new URL("livepush-presence.js", STATIC), "utf8");
  assert.ok(gzipSync(source, { level: 9 }).length <= 1500);
  assert.doesNotMatch(source, FORBIDDEN);
  assert.doesNotMatch(source, /import\(/);
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

  runInThisContext(readFileSync(new URL("livepush.js", STATIC), "utf8"));
  const { livepush } = window;
  t.after(() => livepush.stop());
  assert.deepEqual(Object.keys(livepush).sort(), [...API, "stream"].sort()); // which is for the script of streams
  assert.deepEqual(await heard, event("a-6"));
  assert.deepEqual(asked, ["https://shop.example/live/sse/?format=envelope&group=board&since=a-5"]);
  const { state, transport, role, position, groups, refused } = livepush;
  assert.deepEqual(
    { state, transport, role, position, groups, refused },
    { state: "open", transport: "sse", role: "alone", position: "a-6", groups: ["board"], refused: [] },
  );
  assert.equal(document.documentElement.dataset.livepushState, "open");
  assert.throws(() => livepush.use("pigeon"), /expected null,sse,websocket,longpoll,poll/);
});
