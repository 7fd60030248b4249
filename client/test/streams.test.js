import assert from "node:assert/strict";
import { test } from "node:test";
import { Stream } from "../src/streams/stream.js";
import { fake } from "./helpers.js";

const events = (...told) => {
  const body = told.map((each) => `id: ${each.offset}\ndata: ${JSON.stringify(each)}\n\n`).join("");
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
};

/** Answer requests one after another; return the addresses that were asked for. */
const answering = (...answers) => {
  const asked = [];
  const fetch = async (url) => {
    asked.push(url);
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    return answer;
  };
  fake(globalThis, { fetch, document: { querySelector: () => null, cookie: "" } });
  return asked;
};

const read = async (stream) => {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
};

test("a stream is read to its end; each part has the offset after it, in characters", async () => {
  const asked = answering(
    events({ offset: 4, parts: ["🐦é\n", [{ progress: 0.5 }]] }, { offset: 4, parts: [], state: "finished" }),
  );
  const stream = new Stream("abc");
  assert.deepEqual(await read(stream), [
    { text: "🐦é\n", offset: 3 },
    { data: { progress: 0.5 }, offset: 4 },
  ]);
  assert.deepEqual([stream.text, stream.state, stream.progress], ["🐦é\n", "finished", 0.5]);
  assert.deepEqual(asked, ["https://shop.example/livepush/streams/abc/?after=0&format=livepush"]);
});

test("a reader resumes from its offset after a cut, an error, and a server that is busy or ends", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const asked = answering(
    events({ offset: 2, parts: ["ab"] }),
    new TypeError("network"),
    new Response("", { status: 503 }),
    events({ offset: 3, parts: ["c"] }, { offset: 3, parts: [], retry: 700 }),
    events({ offset: 4, parts: ["d"] }, { offset: 4, parts: [], state: "failed", error: "No." }),
  );
  const stream = new Stream("/other/streams/abc/", { after: 0 });
  const done = read(stream);
  let ended = false;
  done.finally(() => {
    ended = true;
  });
  while (!ended) {
    await new Promise(setImmediate);
    t.mock.timers.tick(500);
  }
  await done;
  assert.deepEqual([stream.text, stream.state, stream.error], ["abcd", "failed", "No."]);
  assert.deepEqual(
    asked.map((url) => url.replace(/.*after=(\d+).*/, "$1")),
    ["0", "2", "2", "2", "3"],
  );
});

test("a stream that may not be read throws", async () => {
  answering(new Response("", { status: 403 }));
  await assert.rejects(read(new Stream("abc")), /livepush: 403/);
});

test("an answer that is no stream is a poll's", async () => {
  answering(Response.json({ offset: 1, parts: ["a"], state: "finished", error: "", metadata: { exit: 0 } }));
  const stream = new Stream("abc");
  assert.deepEqual(await read(stream), [{ text: "a", offset: 1 }]);
  assert.deepEqual(stream.metadata, { exit: 0 });
});

test("a reader that is aborted asks no more", async () => {
  const controller = new AbortController();
  answering(events({ offset: 1, parts: ["a"] }));
  const stream = new Stream("abc", { signal: controller.signal });
  const parts = [];
  await assert.rejects(async () => {
    for await (const part of stream) {
      parts.push(part.text);
      controller.abort();
      throw new Error("enough");
    }
  }, /enough/);
  assert.deepEqual(parts, ["a"]);
});

test("a stream's address is the page's, whatever base address and password the page has", async () => {
  const end = () => events({ offset: 0, parts: [], state: "finished" });
  const asked = answering(end(), end(), end());
  await read(new Stream("abc"));
  const stream = new Stream("/live/streams/abc/");
  await read(stream);
  await stream.stop();
  assert.deepEqual(asked, [
    "https://shop.example/livepush/streams/abc/?after=0&format=livepush",
    "https://shop.example/live/streams/abc/?after=0&format=livepush",
    "https://shop.example/live/streams/abc/stop/",
  ]);
});
