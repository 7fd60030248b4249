import assert from "node:assert/strict";
import { test } from "node:test";
import { follow } from "../src/list/changes.js";
import { fake } from "./helpers.js";

test("who follows an entry has read it, also where a browser can't or won't send a beacon", () => {
  for (const sendBeacon of [undefined, () => false, () => true]) {
    const sent = [];
    const painted = [];
    fake(navigator, { sendBeacon });
    fake(globalThis, {
      FormData: class {},
      fetch: async (url, { method, keepalive }) => sent.push([url, method, keepalive]),
    });
    const entry = {
      querySelector: () => ({ formAction: "/inbox/read/", dataset: {} }),
      toggleAttribute: (...how) => painted.push(how),
    };
    follow({ inbox: { here: (url) => url }, element: { form: {} } }, { closest: () => entry });
    assert.deepEqual(painted, [["data-unread", false]]);
    assert.deepEqual(sent, sendBeacon?.() ? [] : [["/inbox/read/", "POST", true]]);
  }
});
