import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { sseParser } from "../src/sse-parser.js";
import { address, parseFrame } from "../src/wire.js";
import { fake } from "./helpers.js";

const GOLDEN = new URL("../../tests/golden/wire.json", import.meta.url);

function readStream(text) {
  const envelopes = [];
  sseParser((data) => envelopes.push(...parseFrame(data)))(new TextEncoder().encode(text));
  return envelopes;
}

test("the golden cases, shared with the server's tests, read as the envelopes they were made from", () => {
  assert.ok(existsSync(GOLDEN), "tests/golden/wire.json is missing: the server's and the client's tests share it");
  const { cases } = JSON.parse(readFileSync(GOLDEN, "utf8"));
  assert.ok(cases.length > 0);
  for (const { name, sse_envelope, ws, ws_array, poll, envelopes } of cases) {
    assert.deepEqual(readStream(sse_envelope), envelopes, `${name}: SSE`);
    assert.deepEqual(ws.flatMap(parseFrame), envelopes, `${name}: WebSocket`);
    if (ws_array) assert.deepEqual(parseFrame(ws_array), envelopes, `${name}: WebSocket, ${name}`);
    if (poll !== null) assert.deepEqual(JSON.parse(poll).events, envelopes, `${name}: poll`);
  }
});

test("an address carries groups, position and the transport's own fields, percent-encoded", () => {
  const request = { url: "/live/", groups: ["order:7", "a/b@c+d~e="], since: "a1b2-17" };
  fake(location, { href: "https://shop.example/page?x=1#y" });
  assert.equal(
    address(request, "sse/?format=envelope").href,
    "https://shop.example/live/sse/?format=envelope&group=order%3A7&group=a%2Fb%40c%2Bd%7Ee%3D&since=a1b2-17",
  );
});

test("an address without a position asks for events from now on", () => {
  const request = { url: "http://shop.example/livepush/", groups: ["board"], since: null };
  assert.equal(address(request, "ws/").href, "http://shop.example/livepush/ws/?group=board");
});
