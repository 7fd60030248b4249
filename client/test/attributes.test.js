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
  /** An element that names events of a type, and may contain others of its kind. */
  const element = (type = "moved") => ({
    id: "",
    isConnected: true,
    dataset: {},
    shows: "at first",
    children: [],
    matches(selector) {
      if (selector === "[data-livepush-old]") return "livepushOld" in this.dataset;
      return selector === "[data-livepush-refresh]" || selector.includes(`[data-livepush-refresh~="${type}"]`);
    },
    querySelectorAll(selector) {
      return this.children.filter((each) => each.matches(selector));
    },
    replaceChildren(...content) {
      for (const each of this.children) each.isConnected = false;
      this.shows = content.join();
      this.children = content.filter(({ matches }) => matches);
    },
    dispatchEvent() {},
  });
  const region = Object.assign(element(), { id, dataset: url ? { livepushUrl: url } : {} });
  return {
    clock,
    region,
    element,
    document,
    asked: () => asked,
    /** Have an event of a type come to the page, which has some elements. */
    heard: (type, ...elements) => serve(elements, { type }),
    headers: () => waiting[0].headers,
    moved() {
      serve([region], { type: "moved" });
      clock.advance(600);
    },
    answer(content, { status = 200, has = true, responseURL } = {}) {
      const request = waiting.shift();
      const found = { childNodes: [content].flat() };
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
    "If-None-Match": '""',
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

test("a region whose event comes while the region around it is on its way is fetched as it is in the answer", () => {
  const { moved, heard, answer, asked, clock, region, element } = page();
  const inner = element("paid");
  region.children = [inner];
  moved();
  heard("paid", region, inner);
  clock.advance(600);
  assert.equal(asked(), 2);
  const [again, other] = [element("paid"), element("sent")];
  answer([again, other]);
  answer("paid");
  assert.deepEqual([again.shows, asked()], ["at first", 2], "the region that was there is gone");
  clock.advance(600);
  answer("paid");
  clock.advance(60_000);
  assert.deepEqual([again.shows, other.shows, asked()], ["paid", "at first", 3]);
});

test("a region that an answer brings, and whose event came while that was on its way, is fetched too", () => {
  const { moved, heard, answer, asked, clock, region, element } = page();
  moved();
  heard("paid", region);
  const row = element("paid");
  answer([row]);
  clock.advance(600);
  answer("paid");
  clock.advance(60_000);
  assert.deepEqual([row.shows, asked()], ["paid", 2]);
});

test("a region that came with an answer is not fetched for an event from before that was asked for", () => {
  const { moved, heard, answer, asked, clock, region, element } = page();
  heard("paid", region);
  moved();
  answer([element("paid")]);
  clock.advance(60_000);
  assert.equal(asked(), 1);
});

test("of the regions of a copied body, those that were old when it was copied are fetched", () => {
  const { moved, answer, asked, clock, region, element } = page();
  const copies = [];
  const copy = () => copies.push(Object.assign(element(), { dataset: { ...region.dataset } }));
  copy();
  serve([region], { type: "moved" });
  copy();
  clock.advance(600);
  copy();
  answer("new");
  copy();
  assert.equal(asked(), 1);
  serve(copies);
  clock.advance(600);
  for (let count = 1; count < asked(); count++) answer("new");
  clock.advance(60_000);
  assert.deepEqual([copies.map(({ shows }) => shows), asked()], [["at first", "new", "new", "at first"], 3]);
  serve(copies);
  moved();
  assert.equal(asked(), 4, "only the one that an event has made old");
});

test("htmx is told of a region's new content before the page is, and is asked to fetch a region of its own", () => {
  const { moved, answer, asked, region } = page();
  const said = [];
  window.htmx = {
    process: (element) => said.push(["process", element.shows]),
    trigger: (_element, name) => said.push([name, "livepushOld" in region.dataset]),
  };
  region.dispatchEvent = ({ type }) => said.push([type]);
  moved();
  answer("new");
  const { matches } = region;
  region.matches = (selector) => selector === "[hx-get]" || matches.call(region, selector);
  moved();
  assert.deepEqual(said, [["process", "new"], ["livepush:refreshed"], ["livepush:refresh", false]]);
  assert.equal(asked(), 1);
});

test("an element with the id htmx is not taken for htmx", () => {
  const { moved, answer, region } = page();
  window.htmx = {};
  const said = [];
  region.dispatchEvent = ({ type }) => said.push(type);
  moved();
  answer("new");
  assert.deepEqual(said, ["livepush:refreshed"]);
});
