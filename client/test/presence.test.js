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
    fetch: (_url, { method = "GET", body, signal }) =>
      new Promise((answer, fail) => {
        if (signal.aborted) return fail(signal.reason);
        signal.addEventListener("abort", () => fail(signal.reason));
        asked.push({ method, body: body && JSON.parse(body).state, answer, fail });
      }),
  });
  const client = {
    state: "idle",
    position: "a-0",
    add: ([group]) => calls.push(`add ${group}`),
    remove: ([group]) => calls.push(`remove ${group}`),
    start: () => calls.push("start"),
  };
  return {
    clock,
    asked,
    calls,
    client,
    open: (group = "room:1", own = client) => openRoom(own, group, { url: "/livepush/", target }),
    says(type, id, ...ids) {
      const detail = {
        id,
        type: `presence.${type}`,
        group: "room:1",
        data: { members: ids.map((id) => (id.id ? id : member(id))) },
      };
      target.dispatchEvent(new CustomEvent("livepush:event", { detail }));
    },
    enters(state) {
      client.state = state;
      target.dispatchEvent(new CustomEvent("livepush:state", { detail: { state } }));
    },
    revoke: () => target.dispatchEvent(new CustomEvent("livepush:revoked", { detail: {} })),
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

/** The errors that a page has reported. */
function reports() {
  const reported = [];
  fake(globalThis, { reportError: (error) => reported.push(error.message) });
  return reported;
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

test("with a client that does not know yet where it begins, the snapshot is asked for once it is open", async () => {
  const { open, client, enters, says, reset, answer, asked } = page();
  client.position = null;
  const room = open();
  enters("connecting");
  says("join", "a-9", "elsewhere"); // through another client of the page
  await told();
  assert.equal(asked.length, 0);
  client.position = "a-10";
  enters("open");
  await told();
  assert.equal(asked.length, 1);
  says("join", "a-11", "bob");
  await answer(0, snapshot("a-10", "ann"));
  assert.deepEqual(ids(room), ["ann", "bob"]);
  enters("connecting");
  enters("open");
  await told();
  assert.equal(asked.length, 1, "events tell the rest");
  reset();
  await told();
  assert.equal(asked.length, 2);
});

for (const state of ["idle", "paused", "stopped"]) {
  const starts = state === "idle";
  test(`a room ${starts ? "starts" : "does not start"} a client that is ${state}`, () => {
    const { open, client, calls } = page();
    document.readyState = "complete";
    client.state = state;
    open();
    assert.deepEqual(calls, ["add room:1", ...(starts ? ["start"] : [])]);
  });
}

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

for (const status of [401, 403]) {
  test(`a room that may not be read, with status ${status}, is asked for again when its client is let in`, async () => {
    const { open, answer, asked, enters, passes } = page();
    const room = open();
    await told();
    await answer(0, json({ code: "refused" }, status));
    await passes(60_000);
    await told();
    assert.deepEqual([ids(room), asked.length], [[], 1]);
    enters("connecting");
    await told();
    assert.equal(asked.length, 1);
    enters("open");
    await told();
    await answer(1, snapshot("a-11", "ann"));
    assert.deepEqual(ids(room), ["ann"]);
  });
}

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
  const { open, calls } = page(`script[data-groups*='"room:1"']`);
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

test("a listener that throws is reported, the others are told, and no snapshot is asked for again", async () => {
  const { open, says, answer, asked, passes } = page();
  const reported = reports();
  const room = open();
  const told = [];
  room.on("change", () => {
    throw new Error("mine");
  });
  room.on("change", (members) => told.push(members.map(({ id }) => id)));
  await answered();
  await answer(0, snapshot("a-10", "ann"));
  says("join", "a-11", "bob");
  room.on("change", () => {
    throw new Error("late");
  });
  await passes(60_000);
  assert.deepEqual(told, [["ann"], ["ann", "bob"]]);
  assert.deepEqual([reported, asked.length], [["mine", "mine", "late"], 1]);
});

test("a room tells only of changes: another name is refused", async () => {
  const { open, answer } = page();
  const room = open();
  await told();
  await answer(0, snapshot("a-10", "ann"));
  assert.throws(() => room.on("join", () => assert.fail("it was called")), TypeError);
});

test("after a reset, an event of the old log that came before the snapshot does not count", async () => {
  const { open, says, reset, answer } = page();
  const room = open();
  await told();
  says("leave", "old-5000", "ann");
  reset();
  await told();
  says("join", "new-11", "bob");
  await answer(1, snapshot("new-10", "ann"));
  assert.deepEqual(ids(room), ["ann", "bob"]);
});

test("what an invisible member says is said again ever more rarely, and at once when there is more to say", async () => {
  const { open, answer, asked, passes } = page();
  const room = open();
  await told();
  await answer(0, snapshot("a-1"));
  room.update({ away: true });
  let waited = 0;
  const waits = [];
  while (waits.length < 7) {
    await passes(100);
    waited += 100;
    if (!asked[waits.length + 1]) continue;
    await answer(waits.length + 1, json({ code: "not_present" }, 409));
    waits.push(waited);
    waited = 0;
  }
  assert.deepEqual(waits, [300, 1200, 4800, 19_200, 76_800, 76_800, 76_800]);
  room.update({ away: false });
  await passes(300);
  assert.deepEqual(asked.at(-1).body, { away: false });
});

const since = (day, id) => ({ ...member(id), since: `2026-01-0${day}T00:00:00Z` });

for (const [name, day, said, lost] of [
  ["a reset, though the member has left and joined", 2, [undefined, { away: true }], async ({ reset }) => reset()],
  ["a reset that the member has outlived", 1, [undefined], async ({ reset }) => reset()],
  [
    "the right to read has ended and come back",
    2,
    [undefined, { away: true }],
    async ({ revoke, answer, enters }) => {
      revoke();
      await told();
      await answer(2, json({ code: "forbidden" }, 403));
      enters("connecting");
      enters("open");
    },
  ],
]) {
  test(`after ${name}, the page says of its member what nobody knows any more`, async () => {
    const { open, answer, asked, passes, says, ...more } = page();
    const room = open();
    await told();
    await answer(0, json({ position: "a-1", members: [since(1, "me")] }));
    room.update({ away: true });
    await passes(300);
    await answer(1, json({ id: "me" }));
    says("update", "a-2", since(1, "me"));
    await lost({ answer, ...more });
    await told();
    const last = asked.length - 1;
    await answer(last, json({ position: "a-30", members: [since(day, "me"), since(1, "ann")] }));
    await passes(300);
    assert.deepEqual(
      asked.slice(last).map(({ body }) => body),
      said,
    );
  });
}

test("a member that has left and joined is told again what the page has said of it", async () => {
  const { open, answer, asked, passes, says } = page();
  const room = open();
  await told();
  await answer(0, json({ position: "a-1", members: [since(1, "me")] }));
  room.update({ away: true });
  await passes(300);
  await answer(1, json({ id: "me" }));
  says("leave", "a-2", "me");
  says("join", "a-3", since(2, "me"));
  await passes(300);
  assert.deepEqual(asked[2]?.body, { away: true });
  await answer(2, json({ id: "me" }));
  says("update", "a-4", since(2, "me"));
  await passes(60_000);
  assert.equal(asked.length, 3);
});
