import assert from "node:assert/strict";
import { test } from "node:test";
import { openRoom } from "../src/presence/room.js";
import { Clock, fake, told } from "./helpers.js";

const member = (id) => ({ id, info: { name: id }, state: {}, connections: 1, since: null });
const json = (said, status = 200) => new Response(JSON.stringify(said), { status });
const snapshot = (position, ...ids) => json({ position, members: ids.map(member) });

/** A page that may open rooms: `asked` has its requests, which wait for an answer, and `calls` what the client was told. */
function page(tag) {
  const clock = new Clock();
  clock.install();
  const target = new EventTarget();
  const asked = [];
  const calls = [];
  fake(globalThis, {
    document: { readyState: "loading", querySelector: (selector) => (selector === tag ? {} : null) },
    CSS: { escape: (text) => text },
    fetch: (_url, { method = "GET", body, signal }) =>
      new Promise((answer, fail) => {
        if (signal.aborted) return fail(signal.reason);
        signal.addEventListener("abort", () => fail(signal.reason));
        asked.push({ method, body: body && JSON.parse(body).state, answer, fail });
      }),
  });
  const client = {
    add: ([group]) => calls.push(`add ${group}`),
    remove: ([group]) => calls.push(`remove ${group}`),
  };
  return {
    clock,
    asked,
    calls,
    open: (group = "room:1", own = client) => openRoom(own, group, { url: "/livepush/", target }),
    says(type, id, ...ids) {
      const detail = { id, type: `presence.${type}`, group: "room:1", data: { members: ids.map(member) } };
      target.dispatchEvent(new CustomEvent("livepush:event", { detail }));
    },
    reset: () => target.dispatchEvent(new CustomEvent("livepush:reset", { detail: {} })),
    async answer(number, response) {
      asked[number].answer(response);
      await answered();
    },
    async passes(milliseconds) {
      clock.advance(milliseconds);
      await answered();
    },
  };
}

/** Let a response be read: its body comes in tasks of its own. */
async function answered() {
  for (let round = 0; round < 5; round++) {
    await told();
    await new Promise((done) => setImmediate(done));
  }
}

const ids = (room) => room.members.map(({ id }) => id);

test("of two snapshots, the one that was asked for last counts, whichever comes last", async () => {
  const { open, reset, answer, says, asked, clock, passes } = page();
  const room = open();
  await told();
  reset();
  await told();
  await answer(1, snapshot("a-20", "ann", "bob"));
  says("join", "a-21", "cat");
  says("leave", "a-22", "ann");
  await answer(0, snapshot("a-10", "ann"));
  assert.deepEqual(ids(room), ["bob", "cat"]);
  says("join", "a-23", "dan");
  assert.deepEqual(ids(room), ["bob", "cat", "dan"]);
  reset();
  await told();
  reset();
  await told();
  await answer(3, snapshot("a-30", "eve"));
  asked[2].fail(new TypeError("cut"));
  await passes(60_000);
  assert.deepEqual([ids(room), asked.length, clock.pending], [["eve"], 4, 0]);
});

test("events that come before the snapshot count from its position on", async () => {
  const { open, says, answer } = page();
  const room = open();
  await told();
  says("join", "a-9", "old");
  says("join", "a-11", "new");
  await answer(0, snapshot("a-10", "ann"));
  assert.deepEqual(ids(room), ["ann", "new"]);
});

test("a room that may not be read is asked for again when something comes from it", async () => {
  const { open, says, answer, asked } = page();
  const room = open();
  await told();
  says("join", "a-1", "before");
  await answer(0, json({ code: "forbidden" }, 403));
  assert.deepEqual([ids(room), asked.length], [[], 1]);
  says("join", "a-11", "bob");
  says("join", "a-12", "cat");
  await told();
  assert.equal(asked.length, 2);
  await answer(1, snapshot("a-11", "ann", "bob"));
  assert.deepEqual(ids(room), ["ann", "bob", "cat"]);
});

for (const status of [409, 429, 502, 503]) {
  test(`what is said of the member is said again after ${status}`, async () => {
    const { open, answer, asked, passes } = page();
    const room = open();
    await told();
    await answer(0, snapshot("a-1"));
    room.update({ away: true });
    await passes(300);
    await answer(1, new Response("not now", { status }));
    await passes(2000);
    assert.deepEqual(
      asked.map(({ body }) => body),
      [undefined, { away: true }, { away: true }],
    );
    await answer(2, json({ id: "me" }));
    await passes(60_000);
    assert.equal(asked.length, 3);
  });
}

test("what is refused for good is not said again", async () => {
  const { open, answer, asked, passes } = page();
  const room = open();
  await told();
  await answer(0, snapshot("a-1"));
  room.update({ away: true });
  await passes(300);
  await answer(1, json({ code: "bad_state" }, 400));
  await passes(60_000);
  assert.equal(asked.length, 2);
});

test("one thing after the other is said of the member", async () => {
  const { open, answer, asked, passes } = page();
  const room = open();
  await told();
  await answer(0, snapshot("a-1"));
  room.update({ away: true });
  await passes(300);
  room.update({ away: false });
  await passes(1000);
  assert.equal(asked.length, 2);
  await answer(1, json({ id: "me" }));
  assert.deepEqual(
    asked.map(({ body }) => body),
    [undefined, { away: true }, { away: false }],
  );
});

test("a group is left with the last of its rooms", async () => {
  const { open, calls } = page();
  const [first, second, other] = [open("room:7"), open("room:7"), open("room:8")];
  calls.length = 0;
  first.leave();
  first.leave();
  assert.deepEqual(calls, []);
  other.leave();
  second.leave();
  assert.deepEqual(calls, ["remove room:8", "remove room:7"]);
});

test("a group that a tag of the page has is not left", async () => {
  const { open, calls } = page('script[data-groups*="room:1"]');
  calls.length = 0;
  open().leave();
  assert.deepEqual(calls, ["add room:1"]);
});

test("a room that was left asks for nothing any more", async () => {
  const { open, answer, asked, passes, clock } = page();
  const room = open();
  await told();
  await answer(0, new Response("bad gateway", { status: 502 }));
  room.update({ away: true });
  room.leave();
  await passes(60_000);
  await passes(60_000);
  assert.deepEqual([asked.length, clock.pending], [1, 0]);
});
