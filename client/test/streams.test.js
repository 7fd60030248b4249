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
    new Response("", { status: 408 }),
    new Response("", { status: 425 }),
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
    ["0", "2", "2", "2", "2", "2", "3"],
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

test("a reader that is aborted while it waits asks no more and throws", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const controller = new AbortController();
  const poll = () => Response.json({ offset: 1, parts: [], state: "running", error: "" });
  const asked = answering(poll(), poll());
  const reading = read(new Stream("abc", { signal: controller.signal }));
  const rejected = assert.rejects(reading, { name: "AbortError" });
  while (!asked.length) await new Promise(setImmediate);
  await new Promise(setImmediate);
  controller.abort();
  for (let turn = 0; turn < 5; turn++) {
    t.mock.timers.tick(1000);
    await new Promise(setImmediate);
  }
  await rejected;
  assert.equal(asked.length, 1);
});

test("a reader that is aborted gets no more of the parts that have come", async () => {
  const controller = new AbortController();
  answering(events({ offset: 2, parts: ["a", [1], "b"] }));
  const stream = new Stream("abc", { signal: controller.signal });
  const parts = [];
  await assert.rejects(async () => {
    for await (const part of stream) {
      parts.push(part.text);
      controller.abort();
    }
  });
  assert.deepEqual([parts, stream.text, stream.offset], [["a"], "a", 1]);
});

test("an element that is moved goes on with its text, whoever shows it", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  class Page extends EventTarget {
    dataset = { after: "4" };
    attributes = { src: "/streams/abc/" };
    textContent = "one ";
    getAttribute = (name) => this.attributes[name];
    setAttribute(name, value) {
      this.attributes[name] = value;
    }
    append(text) {
      this.textContent += text;
    }
    normalize() {}
  }
  let StreamElement;
  const customElements = {
    get() {},
    define(_name, found) {
      StreamElement = found;
    },
  };
  const whole = "one two three four";
  const asked = [];
  const fetch = async (url) => {
    const after = Number(/after=(\d+)/.exec(url)[1]);
    asked.push(after);
    const offset = [8, 14, 18].find((end) => end > after) ?? 18;
    const parts = [...whole.slice(after, offset)];
    return Response.json({ offset, parts, state: offset === 18 ? "finished" : "running", error: "" });
  };
  const document = Object.assign(new EventTarget(), { querySelector: () => null, cookie: "" });
  fake(globalThis, { HTMLElement: Page, customElements, document, window: {}, fetch });
  await import("../src/streams/main.js");
  const turn = async () => {
    await new Promise(setImmediate);
    t.mock.timers.tick(2000);
    await new Promise(setImmediate);
  };
  for (const isRendered of [false, true]) {
    asked.length = 0;
    const element = new StreamElement();
    const move = () => {
      element.disconnectedCallback();
      element.connectedCallback();
    };
    const told = [];
    element.addEventListener("livepush:part", (event) => {
      told.push(event.detail.part.text);
      if (event.detail.part.offset === 6) move(); // a listener sorts the page
      if (isRendered) event.preventDefault();
    });
    element.connectedCallback();
    while (asked.length < 2) await new Promise(setImmediate);
    await new Promise(setImmediate);
    move(); // while it waits
    assert.equal(element.attributes["aria-busy"], "true");
    while (element.attributes.state === "running") await turn();
    await turn();
    assert.equal(element.attributes["aria-busy"], "false");
    assert.equal(told.join(""), "two three four");
    assert.deepEqual([element.stream.text, element.dataset.after], [whole, "18"]);
    assert.equal(element.textContent, isRendered ? "one " : whole);
  }
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

test("a stream's headers, address and offset are taken in each form that they have", async () => {
  for (const headers of [{ authorization: "T" }, new Headers({ authorization: "T" }), [["authorization", "T"]]]) {
    const sent = [];
    const fetch = async (url, init) => {
      sent.push([url, Object.fromEntries(new Headers(init.headers))]);
      return events({ offset: 42, parts: ["ab"], state: "finished" });
    };
    fake(globalThis, { fetch, document: { querySelector: () => null, cookie: "csrftoken=abc" } });
    const stream = new Stream("/live/streams/abc?tenant=a", { after: "40", headers });
    await read(stream);
    await stream.stop();
    await new Stream("/live/streams/abc", { headers: { "X-CSRFToken": "mine" } }).stop();
    assert.equal(stream.offset, 42);
    assert.deepEqual(sent, [
      ["https://shop.example/live/streams/abc/?tenant=a&after=40&format=livepush", { authorization: "T" }],
      ["https://shop.example/live/streams/abc/stop/?tenant=a", { authorization: "T", "x-csrftoken": "abc" }],
      ["https://shop.example/live/streams/abc/stop/", { "x-csrftoken": "mine" }],
    ]);
  }
});
