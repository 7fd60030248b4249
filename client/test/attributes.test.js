import assert from "node:assert/strict";
import { test } from "node:test";
import { serve } from "../src/attributes.js";
import { Clock, fake } from "./helpers.js";

const PAGE = "https://shop.example/page";

/** A page with one region, a clock, and the requests that it makes; `answer` ends the oldest that waits. */
function page(id = "orders", url = undefined) {
  const clock = new Clock();
  clock.install();
  const waiting = [];
  let asked = 0;
  class XMLHttpRequest {
    open(_method, url) {
      this.url = `${new URL(url, PAGE)}`;
    }
    headers = {};
    setRequestHeader(name, value) {
      this.headers[name] = new Headers([[name, value]]).get(name); // which throws beyond Latin-1, as browsers do
    }
    send() {
      asked += 1;
      waiting.push(this);
    }
  }
  const document = Object.assign(new EventTarget(), { hidden: false, baseURI: PAGE });
  fake(globalThis, {
    XMLHttpRequest,
    document,
    window: {},
    location: { href: PAGE, origin: "https://shop.example" },
    CSS: { escape: (text) => text },
  });
  const region = {
    id,
    isConnected: true,
    dataset: url ? { livepushUrl: url } : {},
    shows: "at first",
    matches: (selector) => selector.includes("data-livepush-refresh"),
    replaceChildren(...content) {
      this.shows = content.join();
    },
    dispatchEvent() {},
  };
  return {
    clock,
    region,
    document,
    asked: () => asked,
    headers: () => waiting[0].headers,
    moved() {
      serve([region], { type: "moved" });
      clock.advance(600);
    },
    answer(content, { status = 200, has = true, responseURL } = {}) {
      const request = waiting.shift();
      const found = { childNodes: [content] };
      Object.assign(request, {
        status,
        responseURL: status ? (responseURL ?? request.url) : "",
        response: status ? { getElementById: (name) => (has && name ? found : null), body: found } : null,
      });
      if (status) request.onload?.();
      else request.onerror?.();
      request.onloadend?.();
    },
  };
}

test("a region that is on its way is fetched again after what came meanwhile, and shows the newest", () => {
  const { moved, answer, asked, clock, region } = page();
  moved();
  moved();
  assert.equal(asked(), 1);
  answer("as of the first");
  clock.advance(600);
  assert.equal(asked(), 2);
  answer("as of the second");
  clock.advance(60_000);
  assert.deepEqual([region.shows, asked()], ["as of the second", 2]);
});

for (const status of [0, 429, 502]) {
  test(`a region that is answered with ${status} is asked for again, less and less often`, () => {
    const { moved, answer, asked, clock, region } = page();
    moved();
    const times = [];
    for (let count = 1; count < 7; count++) {
      const from = clock.time;
      answer("not this", { status });
      for (let step = 0; asked() === count && step < 500; step++) clock.advance(100);
      times.push(clock.time - from);
    }
    assert.deepEqual(times, [1200, 4800, 19_200, 30_000, 30_000, 30_000]);
    assert.equal(region.shows, "at first");
    answer("new");
    clock.advance(100_000);
    assert.deepEqual([region.shows, asked()], ["new", 7]);
    moved();
    assert.equal(asked(), 8);
  });
}

test("a region that its server refuses waits for the next event", () => {
  const { moved, answer, asked, clock, region } = page();
  moved();
  answer("not allowed", { status: 403 });
  clock.advance(100_000);
  assert.deepEqual([region.shows, asked()], ["at first", 1]);
  moved();
  answer("new");
  assert.equal(region.shows, "new");
});

test("a region shows nothing of another page that the server sends the browser to", () => {
  const { moved, answer, asked, clock, region } = page("orders", "/rows/#top");
  for (const has of [true, false]) {
    moved();
    answer("a login page", { has, responseURL: "https://shop.example/login/?next=/rows/" });
  }
  clock.advance(100_000);
  assert.deepEqual([region.shows, asked()], ["at first", 2]);
  moved();
  answer("rows", { responseURL: "https://shop.example/rows/" });
  assert.equal(region.shows, "rows");
});

test("another host is not even asked", () => {
  const { moved, asked, clock } = page("orders", "https://elsewhere.example/rows/");
  moved();
  clock.advance(100_000);
  assert.equal(asked(), 0);
});

test("a region that is marked again while the page is hidden is fetched once it is seen", () => {
  const { moved, answer, asked, clock, document, region } = page();
  document.hidden = true;
  moved();
  moved();
  assert.equal(asked(), 0);
  document.hidden = false;
  document.dispatchEvent(new Event("visibilitychange"));
  clock.advance(600);
  answer("new");
  clock.advance(60_000);
  assert.deepEqual([region.shows, asked()], ["new", 1]);
});

test("a region is fetched past the browser's cache", () => {
  const { moved, headers } = page();
  moved();
  assert.deepEqual(headers(), {
    "X-Livepush-Refresh": "orders",
    "If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT",
  });
});

test("a region is fetched whatever characters its id has", () => {
  const { moved, answer, headers, region } = page("订单 é");
  moved();
  assert.equal(headers()["X-Livepush-Refresh"], "%E8%AE%A2%E5%8D%95%20%C3%A9");
  answer("new");
  assert.equal(region.shows, "new");
});

test("a region whose address is none is fetched once it has another", () => {
  const { moved, answer, asked, region } = page("orders", "https://[");
  assert.throws(moved, /Invalid URL/);
  region.dataset.livepushUrl = "/rows/";
  moved();
  answer("rows");
  assert.deepEqual([region.shows, asked()], ["rows", 1]);
});
