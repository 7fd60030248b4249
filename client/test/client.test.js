import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock, event, fake, play, told } from "./helpers.js";

const states = (log) => log.filter(([name]) => name === "state").map(([, { state }]) => state);
/** Let the wait pass that the client has just begun. */
const passWait = (clock, log) => clock.advance(log.at(-1)[1].retry);
const ids = (log) => log.filter(([name]) => name === "event").map(([, { id }]) => id);

test("a client is idle until started, and idle without a group", () => {
  const { client, attempts } = play();
  assert.equal(client.state, "idle");
  assert.equal(attempts.length, 0);
  const empty = play({ groups: [] });
  empty.client.start();
  assert.equal(empty.client.state, "idle");
  empty.client.add(["board"]);
  assert.deepEqual(empty.last().groups, ["board"]);
  empty.client.start();
  assert.equal(empty.attempts.length, 1);
});

test("a client whose last group was removed goes on with the next one, unless it was stopped", () => {
  const { client, clock, last, attempts } = play();
  client.start();
  last().hello();
  client.remove(["board"]);
  clock.advance(100);
  assert.equal(client.state, "idle");
  client.add(["news"]);
  assert.equal(client.state, "connecting");
  assert.deepEqual(last().groups, ["news"]);
  client.stop();
  client.remove(["news"]);
  clock.advance(100);
  client.add(["board"]);
  clock.advance(100);
  assert.equal(attempts.length, 2);
  client.start();
  assert.deepEqual(last().groups, ["board"]);
});

test("a client that got back the only group that was removed connects again, from where it was", () => {
  for (const isOpen of [true, false]) {
    for (const since of [undefined, "a-4", "a-9"]) {
      const { client, clock, last, attempts } = play({ position: "a-5" });
      client.start();
      if (isOpen) last().hello();
      client.remove(["board"]);
      clock.advance(100);
      assert.equal(client.state, "idle");
      client.add(["board"], since);
      assert.equal(client.state, "connecting");
      assert.deepEqual(
        [attempts.length, last().groups, last().since],
        [2, ["board"], since === "a-4" ? since : "a-5"],
      );
    }
  }
});

test("it is open when the hello comes, and says what was granted and from where", () => {
  const { client, last, log } = play({ groups: ["board", "secret"] });
  client.start();
  assert.deepEqual([client.state, client.transport, client.position], ["connecting", "first", null]);
  last().hello({ position: "a-7", groups: ["board"], refused: ["secret"] });
  assert.deepEqual([client.state, client.position], ["open", "a-7"]);
  assert.deepEqual([client.groups, client.refused], [["board"], ["secret"]]);
  assert.deepEqual(log, [
    ["state", { state: "connecting", transport: "first", position: null }],
    ["state", { state: "open", transport: "first", position: "a-7" }],
  ]);
});

test("a hello does not move a cursor that is there", () => {
  const { client, last } = play({ position: "a-5" });
  client.start();
  assert.equal(last().since, "a-5");
  last().hello({ position: "a-9" });
  assert.equal(client.position, "a-5");
});

test("an event reaches listeners by type, by star, and the document, once each", () => {
  const { client, last, target } = play();
  const heard = [];
  client.on("note", (data, envelope) => heard.push(["on", data, envelope.id]));
  client.on("*", (_data, { type }) => heard.push(["star", type]));
  client.on("other", () => heard.push("other"));
  target.addEventListener("livepush:event", ({ detail }) => heard.push(["event", detail.id]));
  target.addEventListener("livepush:event:note", ({ detail }) => heard.push(["event:note", detail.data]));
  client.start();
  last().hello();
  last().says(event("a-1", { data: { n: 1 } }));
  assert.deepEqual(heard, [
    ["on", { n: 1 }, "a-1"],
    ["event:note", { n: 1 }],
    ["star", "note"],
    ["event", "a-1"],
  ]);
});

test("a listener hears nothing more once it is off", () => {
  const { client, last } = play();
  const heard = [];
  const off = client.on("note", (data) => heard.push(data));
  client.start();
  last().hello();
  last().says(event("a-1", { data: 1 }));
  off();
  last().says(event("a-2", { data: 2 }));
  assert.deepEqual(heard, [1]);
});

test("a listener that another one takes off hears nothing, one that it puts on hears the next event", () => {
  const { client, last } = play();
  const heard = [];
  const first = client.on("note", () => {
    first();
    off();
    client.on("note", () => heard.push("third"));
  });
  const off = client.on("note", () => heard.push("second"));
  client.start();
  last().hello();
  last().says(event("a-1"));
  assert.deepEqual(heard, []);
  last().says(event("a-2"));
  assert.deepEqual(heard, ["third"]);
});

test("a listener that stops the client gets nothing more, and what is left comes after the next start", () => {
  const { client, last, log } = play();
  client.on("note", () => client.stop());
  client.start();
  last().hello();
  last().says(event("a-1"), event("a-2"));
  assert.deepEqual(ids(log), ["a-1"]);
  client.start();
  assert.equal(last().since, "a-1");
});

test("repeats are dropped across reconnects, ephemeral events never", () => {
  const { client, clock, last, log } = play();
  client.start();
  last().hello();
  last().says(event("a-1"), event("a-2"), event());
  client.cut();
  clock.advance(500);
  assert.equal(last().since, "a-2");
  last().hello();
  last().says(event("a-2"), event("a-3"), event());
  assert.deepEqual(ids(log), ["a-1", "a-2", undefined, "a-3", undefined]);
});

test("a quiet stream's position moves the cursor, and never back", () => {
  const { client, last } = play({ position: "a-5" });
  client.start();
  last().hello();
  last().says({ type: "livepush.position", id: "a-9", position: "a-9" });
  last().says({ type: "livepush.position", id: "a-8", position: "a-8" });
  assert.equal(client.position, "a-9");
});

test("a reset gives a new position and tells the page", () => {
  const { client, last, log } = play({ position: "a-5" });
  client.start();
  last().hello({ position: "b-3" });
  last().says({ type: "livepush.reset", id: "b-3", position: "b-3", reason: "epoch" }, event("b-4"));
  assert.deepEqual(log.slice(2), [
    ["reset", { position: "b-3", reason: "epoch" }],
    ["event", event("b-4")],
  ]);
  assert.equal(client.position, "b-4");
});

test("a bye brings the client back after what the server asked for, by position", () => {
  const { client, clock, last, log, attempts } = play();
  client.start();
  last().hello();
  last().says(event("a-1"), { type: "livepush.bye", retry: 3000, reason: "drain" }, event("a-2"));
  assert.equal(attempts[0].closed, true);
  assert.deepEqual(log.at(-1), [
    "state",
    { state: "waiting", transport: null, position: "a-1", reason: "drain", retry: 3250 },
  ]);
  clock.advance(3249);
  assert.equal(attempts.length, 1);
  clock.advance(1);
  assert.deepEqual([last().name, last().since], ["first", "a-1"]);
});

test("revoked groups are told; the last one ends in denied", () => {
  const { client, last, log, attempts } = play({ groups: ["board", "order:7"] });
  client.start();
  last().hello();
  last().says({ type: "livepush.revoked", groups: ["order:7"], reason: "permission" });
  assert.deepEqual([client.state, client.groups, client.refused], ["open", ["board"], ["order:7"]]);
  last().says({ type: "livepush.revoked", groups: ["board"], reason: "revoked" });
  assert.deepEqual([client.state, client.groups, client.refused], ["denied", [], ["order:7", "board"]]);
  assert.equal(attempts[0].closed, true);
  assert.deepEqual(log.slice(2), [
    ["revoked", { groups: ["order:7"], reason: "permission" }],
    ["revoked", { groups: ["board"], reason: "revoked" }],
    ["state", { state: "denied", transport: null, position: "a-0", reason: "revoked" }],
  ]);
});

test("a reason of the project's own ends no connection, whatever words are in it", () => {
  const { client, last } = play({ groups: ["board", "order:7"] });
  client.start();
  last().hello();
  last().says({ type: "livepush.revoked", groups: ["order:7"], reason: "user moved" });
  assert.equal(client.state, "open");
});

test("after a login that ended the client asks once more, with the login that the browser has now", () => {
  for (const reason of ["user", "session", "logout"]) {
    for (const groups of [["board"], ["board", "order:7"]]) {
      const { client, clock, last, attempts } = play({ groups });
      client.start();
      last().hello();
      last().says({ type: "livepush.revoked", groups: ["board"], reason });
      assert.deepEqual([client.state, attempts[0].closed], ["waiting", true]);
      clock.advance(500);
      assert.deepEqual([attempts.length, last().groups], [2, groups]);
      last().end({ kind: "denied", reason: "403", retry: 0 });
      clock.advance(100_000);
      assert.deepEqual([client.state, attempts.length], ["denied", 2]);
    }
  }
});

for (const reason of ["403", "4403", "401", "4401"]) {
  test(`a client that comes back and is refused all groups with ${reason} tells which ones it has lost`, () => {
    const { client, clock, last, log } = play({ groups: ["board", "order:7"] });
    client.start();
    last().hello({ groups: ["board"], refused: ["order:7"] });
    client.cut();
    clock.advance(250);
    last().end({ kind: "denied", reason, retry: 0 });
    assert.deepEqual([client.groups, client.refused], [[], ["board", "order:7"]]);
    assert.deepEqual(log.slice(-2), [
      ["state", { state: "denied", transport: null, position: "a-0", reason }],
      ["revoked", { groups: ["board"], reason: "refused" }],
    ]);
    client.start();
    last().hello();
    assert.deepEqual([client.state, client.groups, client.refused], ["open", ["board", "order:7"], []]);
  });
}

test("what is refused at once was never granted, and another refusal says nothing of groups", () => {
  const { client, clock, last, log } = play();
  client.start();
  last().end({ kind: "denied", reason: "403", retry: 0 });
  assert.deepEqual([client.groups, client.refused], [[], ["board"]]);
  client.start();
  last().hello();
  for (const reason of ["400", "204"]) {
    client.cut();
    clock.advance(1000);
    last().end({ kind: "denied", reason, retry: 0 });
    assert.deepEqual([client.state, client.groups, client.refused], ["denied", ["board"], []]);
    client.start();
    last().hello();
  }
  assert.deepEqual(
    log.filter(([name]) => name === "revoked"),
    [],
  );
});

test("after a refusal of all groups a newer body of the page takes no events from what the page had before", () => {
  const { client, clock, last, log } = play();
  client.start();
  last().hello();
  last().says(event("a-3"));
  client.cut();
  clock.advance(250);
  last().end({ kind: "denied", reason: "403", retry: 0 });
  client.add(["board"], "a-20");
  assert.equal(last().since, "a-3");
  last().hello();
  last().says(event("a-11"), event("a-21"));
  assert.deepEqual(
    log.filter(([name]) => name === "event").map(([, { id }]) => id),
    ["a-3", "a-11", "a-21"],
  );
});

test("a listener that hears of a refusal can ask for other groups", () => {
  const { client, clock, last, target } = play();
  target.addEventListener("livepush:revoked", () => client.add(["news"]));
  client.start();
  last().hello();
  client.cut();
  clock.advance(250);
  last().end({ kind: "denied", reason: "403", retry: 0 });
  assert.deepEqual([client.state, last().groups], ["connecting", ["board", "news"]]);
});

test("a refusal ends in denied, until started or given another group", () => {
  const { client, clock, last, attempts } = play();
  client.start();
  last().end({ kind: "denied", reason: "403", retry: 0 });
  assert.equal(client.state, "denied");
  clock.advance(100_000);
  client.wake();
  assert.equal(attempts.length, 1);
  client.start();
  last().end({ kind: "denied", reason: "403", retry: 0 });
  client.add(["order:7"]);
  assert.deepEqual(last().groups, ["board", "order:7"]);
});

test("what livepush says that this client does not know is passed over", () => {
  const { client, last, log } = play();
  client.start();
  last().hello();
  last().says({ type: "livepush.reply", ref: 1, ok: true }, { type: "livepush.toString" });
  assert.deepEqual(ids(log), []);
  assert.equal(client.state, "open");
});

test("without a hello in time the next transport is tried at once", () => {
  const { client, clock, attempts, last } = play();
  client.start();
  clock.advance(3999);
  last().heard();
  assert.equal(attempts.length, 1);
  clock.advance(1);
  assert.deepEqual([attempts[0].closed, last().name], [true, "second"]);
});

test("when no transport gets through, the round begins again after a wait", () => {
  const { client, clock, attempts, log } = play();
  client.start();
  clock.advance(12_000);
  assert.deepEqual(states(log), ["connecting", "connecting", "connecting", "waiting"]);
  clock.advance(250);
  assert.deepEqual(
    attempts.map(({ name }) => name),
    ["first", "second", "third", "first"],
  );
});

test("a transport that never opened is left after two failures, one that did is kept", () => {
  const { client, clock, attempts, last, log } = play();
  const fail = () => {
    last().end({ kind: "lost", reason: "502", retry: 0 });
    passWait(clock, log);
  };
  client.start();
  fail();
  fail();
  last().hello();
  for (let time = 0; time < 4; time += 1) fail();
  assert.deepEqual(
    attempts.map(({ name }) => name),
    ["first", "first", "second", "second", "second", "second", "second"],
  );
});

test("after an outage the most preferred transport that worked comes first", () => {
  const { client, clock, last } = play();
  client.start();
  last().hello();
  client.cut();
  clock.advance(250);
  clock.advance(4000);
  assert.equal(last().name, "second");
  last().hello();
  client.cut();
  clock.advance(1000);
  assert.equal(last().name, "first");
});

test("without a network no failure counts against a transport", () => {
  const { client, clock, attempts, last, log } = play({ online: false });
  client.start();
  for (let time = 0; time < 3; time += 1) {
    last().end({ kind: time ? "lost" : "next", reason: "failed", retry: 0 });
    assert.equal(client.state, "offline");
    passWait(clock, log);
  }
  assert.deepEqual(
    attempts.map(({ name }) => name),
    ["first", "first", "first", "first"],
  );
});

test("waits are drawn from a span that doubles up to 30 s, on top of what the server asked for", () => {
  const { client, clock, last, log } = play({ names: ["only"], random: () => 1 });
  client.start();
  for (let time = 0; time < 8; time += 1) {
    last().end({ kind: "lost", reason: "502", retry: time === 7 ? 60_000 : 0 });
    passWait(clock, log);
  }
  const waits = log.flatMap(([, { retry }]) => retry ?? []);
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 90_000]);
});

test("a connection that lasts makes up for the failures before it, one that does not does not", () => {
  const { client, clock, last, log } = play({ names: ["only"], random: () => 1 });
  client.start();
  for (const lasts of [0, 0, 4999, 5000, 0]) {
    last().hello();
    clock.advance(lasts);
    client.cut();
    passWait(clock, log);
  }
  const waits = log.flatMap(([, { retry }]) => retry ?? []);
  assert.deepEqual(waits, [500, 1000, 2000, 500, 1000]);
});

test("silence for two and a half heartbeats means dead; any byte is a sign of life", () => {
  const { client, clock, attempts, last, log } = play();
  client.start();
  last().hello({ heartbeat: 2 });
  clock.advance(4999);
  last().heard();
  clock.advance(4999);
  last().says(event("a-1"));
  clock.advance(4999);
  assert.equal(client.state, "open");
  clock.advance(1);
  assert.equal(attempts[0].closed, true);
  assert.deepEqual(log.at(-1)[1].reason, "silence");
  assert.equal(client.state, "waiting");
});

test("a hello without a heartbeat leaves the watch to the transport", () => {
  const { client, clock, last } = play();
  client.start();
  last().hello({ heartbeat: 0 });
  clock.advance(1_000_000);
  assert.equal(client.state, "open");
  assert.equal(clock.pending, 0);
});

test("waking tries at once when waiting, and finds a stream that died in sleep", () => {
  const { client, clock, attempts, last } = play();
  client.start();
  last().hello();
  client.cut();
  client.wake();
  assert.deepEqual([client.state, attempts.length], ["connecting", 2]);
  last().hello();
  client.wake();
  assert.equal(client.state, "open");
  clock.time += 60_000;
  client.wake();
  assert.equal(client.state, "open", "what came during the sleep may be told in a moment");
  clock.advance(1000);
  assert.equal(client.state, "waiting");
});

test("a stream that dies after the clock was set back is found as soon as another", () => {
  const { client, clock, last } = play();
  client.start();
  last().hello();
  clock.time -= 600_000;
  client.wake();
  clock.advance(1000);
  last().heard();
  clock.advance(45_000);
  assert.notEqual(client.state, "open");
});

test("a page waits for nothing that a server asked for before it let the page in", () => {
  const { client, clock, last } = play();
  client.start();
  last().end({ kind: "lost", reason: "x", retry: 0 });
  clock.advance(500);
  last().hello();
  clock.time -= 600_000; // the clock is set back
  client.pause();
  client.start();
  assert.equal(client.state, "connecting");
});

test("waking and adding groups wait for as long as the server asked for, and no longer", () => {
  const { client, clock, attempts, last } = play();
  client.start();
  last().end({ kind: "lost", reason: "503", retry: 3000 });
  for (let time = 0; time < 10; time++) client.wake(true);
  client.add(["order:7"]);
  clock.advance(2999);
  client.wake();
  assert.deepEqual([client.state, attempts.length], ["waiting", 1]);
  clock.advance(1);
  client.wake();
  assert.deepEqual([client.state, last().groups], ["connecting", ["board", "order:7"]]);
  last().hello();
  last().says({ type: "livepush.bye", retry: 2000, reason: "drain" });
  client.wake();
  assert.equal(attempts.length, 2);
  clock.advance(2500);
  assert.equal(attempts.length, 3);
});

test("whatever the page does, no request is sent in the time for which the server wants none", () => {
  const acts = [
    (client) => {
      client.pause();
      client.start();
    },
    (client) => {
      client.stop();
      client.start();
    },
    (client) => client.use("first"),
    (client, clock) => {
      client.remove(["board"]);
      clock.advance(30);
      client.add(["board"]);
    },
  ];
  for (const act of acts) {
    const { client, clock, attempts, last, log } = play();
    client.start();
    last().end({ kind: "lost", reason: "503", retry: 60_000 });
    for (let time = 0; time < 10; time++) act(client, clock);
    const { state, reason, retry } = log.at(-1)[1];
    assert.deepEqual([state, attempts.length], ["waiting", 1]);
    assert.match(reason, /^(busy|503)$/);
    assert.ok(retry >= 59_000 && retry < 90_000, `${retry}`);
    clock.advance(59_000);
    assert.equal(attempts.length, 1);
    for (let time = 0; time < 310 && attempts.length === 1; time++) clock.advance(100);
    assert.equal(attempts.length, 2);
    last().hello();
    assert.equal(client.state, "open");
  }
});

test("when a poll that checks a connection is refused for a time, waking does not poll in that time", async () => {
  const { client, clock, attempts, last } = play({ names: ["first", "poll"], position: "a-5" });
  client.start();
  last().hello();
  clock.advance(6000);
  client.wake();
  await told();
  assert.equal(last().name, "poll");
  last().end({ kind: "lost", reason: "429", retry: 60_000 });
  for (let time = 0; time < 10; time++) client.wake(true);
  await told();
  assert.equal(attempts.length, 2);
  clock.advance(20_000);
  attempts[0].heard();
  clock.advance(20_000);
  attempts[0].heard();
  clock.advance(20_000);
  client.wake(true);
  await told();
  assert.equal(attempts.length, 3);
});

test("a stream whose bytes are told late, after a sleep, lives on", () => {
  const { client, clock, attempts, last } = play();
  client.start();
  last().hello();
  clock.time += 60_000;
  client.wake();
  last().heard();
  clock.advance(30_000);
  assert.deepEqual([client.state, attempts.length], ["open", 1]);
});

test("a dead stream is found in a hidden tab, whose timers run once a minute, and one without a hello too", () => {
  for (const isOpen of [true, false]) {
    const { client, clock, attempts, log } = play();
    client.start();
    if (isOpen) attempts[0].hello();
    for (let minute = 0; minute < 3; minute++) {
      clock.time += 60_000;
      clock.advance(0);
    }
    assert.ok(attempts[0].closed);
    if (isOpen) assert.deepEqual(states(log).slice(0, 3), ["connecting", "open", "waiting"]);
    else assert.equal(attempts[1].name, "second");
  }
});

test("a dead stream is found soon after a late timer, however often the page asks meanwhile", () => {
  const { client, clock, last, log } = play();
  client.start();
  last().hello();
  clock.time += 60_000;
  for (let time = 0; time < 5; time++) {
    client.wake();
    clock.advance(250);
  }
  assert.deepEqual(states(log).slice(0, 3), ["connecting", "open", "waiting"]);
});

test("a paused client comes back by position when started, not when woken", () => {
  const { client, attempts, last } = play();
  client.start();
  last().hello({ position: "a-3" });
  client.pause();
  assert.deepEqual([client.state, client.transport, attempts[0].closed], ["paused", null, true]);
  client.wake();
  assert.equal(client.state, "paused");
  client.start();
  assert.equal(last().since, "a-3");
});

test("a stopped client stays stopped, whatever happens", () => {
  const { client, clock, attempts, last } = play();
  client.start();
  last().hello();
  client.stop();
  last().says(event("a-1"));
  last().end({ kind: "lost", reason: "late", retry: 0 });
  client.wake();
  client.pause();
  client.cut();
  client.use("second");
  client.add(["order:7"]);
  clock.advance(100_000);
  assert.deepEqual([client.state, attempts.length, client.position], ["stopped", 1, "a-0"]);
  client.start();
  assert.deepEqual([last().name, last().groups], ["second", ["board", "order:7"]]);
});

test("a stopped client that is given more groups than a connection may have stays stopped", () => {
  const { client, clock, last, attempts } = play({ most: 2 });
  client.start();
  last().hello();
  client.stop();
  client.add(["order:7", "order:8"]);
  clock.advance(100_000);
  assert.deepEqual([client.state, attempts.length], ["stopped", 1]);
});

test("a forced transport is used alone until the choice is free again", () => {
  const { client, clock, attempts, last } = play();
  client.start();
  last().hello({ position: "a-3" });
  client.use("third");
  assert.deepEqual([last().name, last().since, attempts[0].closed], ["third", "a-3", true]);
  clock.advance(4000);
  assert.equal(client.state, "waiting");
  clock.advance(250);
  assert.equal(last().name, "third");
  client.use(null);
  assert.equal(last().name, "first");
  assert.throws(() => client.use("carrier pigeon"), {
    name: "TypeError",
    message: "No transport carrier pigeon: expected null,first,second,third.",
  });
});

test("a cut connection resumes by position", () => {
  const { client, clock, last, log } = play();
  client.start();
  last().hello();
  last().says(event("a-1"));
  client.cut();
  assert.deepEqual(log.at(-1)[1], {
    state: "waiting",
    transport: null,
    position: "a-1",
    reason: "cut",
    retry: 250,
  });
  clock.advance(250);
  assert.deepEqual([client.state, last().since], ["connecting", "a-1"]);
});

test("before it starts, groups add up from the lowest position", () => {
  const { client, last } = play({ groups: [] });
  client.add(["board"], "a-9");
  client.add(["board", "order:7"], "a-5");
  client.add(["order:8"], null);
  client.add(["order:9"], "b-1");
  client.start();
  assert.deepEqual([last().groups, last().since], [["board", "order:7", "order:8", "order:9"], "a-5"]);
  last().hello();
  last().says(event("a-6"));
  assert.equal(client.position, "a-6");
});

test("a group that comes in later is heard from its own position, the others nothing twice", () => {
  const { client, attempts, last, log } = play({ position: "a-5" });
  client.start();
  last().hello();
  last().says(event("a-8"));
  client.add(["board"], "a-8");
  assert.equal(attempts.length, 1);
  client.add(["order:7"], "a-6");
  assert.deepEqual([attempts[0].closed, last().groups, last().since], [false, ["board", "order:7"], "a-6"]);
  assert.equal(client.state, "open");
  last().hello();
  assert.equal(attempts[0].closed, true);
  last().says(event("a-7", { groups: ["order:7"] }), event("a-8"), event("a-9"));
  assert.deepEqual(ids(log), ["a-8", "a-7", "a-9"]);
  client.add(["order:8"], "a-20");
  assert.equal(last().since, "a-9");
});

test("a group that was dropped and comes back is owed what passed meanwhile", () => {
  const { client, last, log } = play({ groups: ["board", "order:7"], position: "a-5" });
  client.start();
  last().hello();
  client.remove(["order:7"]);
  last().says(event("a-11", { groups: ["order:7"] }));
  client.add(["order:7"], "a-10");
  assert.deepEqual([last().groups, last().since], [["board", "order:7"], "a-10"]);
  last().hello();
  last().says(event("a-11", { groups: ["order:7"] }), event("a-12"));
  assert.deepEqual(ids(log), ["a-11", "a-12"]);
});

test("a group that is asked for from before is told again what followed, in order and after nothing newer", () => {
  const { client, attempts, last, log } = play({ groups: ["board", "order:7"], position: "a-5" });
  const both = { groups: ["board", "order:7"] };
  client.start();
  last().hello();
  last().says(event("a-6", both), event("a-7", { groups: ["order:7"] }));
  client.add(["order:7"], "a-5");
  attempts[0].says(event("a-8", both), event(undefined, { groups: ["order:7"] }));
  last().hello();
  last().says(event("a-6", both), event("a-7", { groups: ["order:7"] }), event("a-8", both), event("a-9", both));
  assert.deepEqual(
    log.filter(([name]) => name === "event").map(([, { id, groups, group }]) => [id, ...(groups ?? [group])]),
    [
      ["a-6", "board", "order:7"],
      ["a-7", "order:7"],
      ["a-8", "board"],
      [undefined, "order:7"],
      ["a-6", "order:7"],
      ["a-7", "order:7"],
      ["a-8", "order:7"],
      ["a-9", "board", "order:7"],
    ],
  );
});

test("a group that begins further on is not told what its page had already", () => {
  const { client, attempts, last, log } = play({ groups: ["board", "order:7"], position: "a-5" });
  client.start();
  last().hello();
  last().says(event("a-6"));
  client.remove(["order:7"]);
  client.add(["order:7"], "a-5");
  assert.equal(attempts.length, 1, "nothing has passed");
  client.remove(["order:7"]);
  client.add(["order:7"], "a-7");
  client.add(["order:8"], "a-8");
  assert.deepEqual([attempts.length, last().since], [2, "a-6"]);
  last().hello();
  last().says(
    event("a-7", { groups: ["order:7"] }),
    event("a-8", { groups: ["order:7", "order:8"] }),
    event("a-9"),
  );
  assert.deepEqual(ids(log), ["a-6", "a-8", "a-9"]);
});

test("what was owed before a reset is lost with the rest, and nothing after it", () => {
  const { client, clock, attempts, last, log } = play({ position: "a-5" });
  client.start();
  last().hello();
  client.add(["board"], "a-2");
  attempts[0].says({ type: "livepush.reset", position: "b-1", reason: "epoch" }, event("b-2"));
  attempts[0].end({ kind: "lost", reason: "cut", retry: 0 });
  clock.advance(1000);
  assert.equal(last().since, "b-2");
  assert.deepEqual(ids(log), ["b-2"]);
});

test("a reset forgets what groups had", () => {
  const { client, last, log } = play({ position: "a-9" });
  client.start();
  last().hello();
  last().says({ type: "livepush.reset", position: "a-3", reason: "pruned" }, event("a-4"));
  assert.deepEqual(ids(log), ["a-4"]);
});

/** A hello that grants one group, because the rule of the other one failed. */
const failing = { groups: ["board"], refused: ["order:7"], failed: ["order:7"] };

test("a group whose rule failed gets the events that the connection passed over, and the other group none twice", () => {
  const { client, clock, last, log } = play({ groups: ["board", "order:7"], position: "a-5" });
  client.start();
  for (const id of ["a-7", "a-9"]) {
    last().hello(failing);
    last().says(
      event(id),
      { type: "livepush.position", position: id },
      { type: "livepush.bye", retry: 0, reason: "" },
    );
    clock.advance(1000);
    assert.equal(last().since, "a-5");
  }
  last().hello();
  last().says(
    event("a-6", { groups: ["order:7"] }),
    event("a-7"),
    event("a-8", { groups: ["order:7"] }),
    event("a-9"),
  );
  assert.deepEqual(ids(log), ["a-7", "a-9", "a-6", "a-8"]);
  assert.deepEqual(client.refused, []);
  last().end({ kind: "lost", reason: "cut", retry: 0 });
  clock.advance(1000);
  assert.equal(last().since, "a-9");
});

test("without a position, a group whose rule failed is owed what comes after the hello", () => {
  const { client, clock, last, log } = play({ groups: ["board", "order:7"] });
  client.start();
  last().hello({ ...failing, position: "a-5" });
  last().says(event("a-7"));
  last().end({ kind: "lost", reason: "cut", retry: 0 });
  clock.advance(1000);
  assert.equal(last().since, "a-5");
  last().hello();
  last().says(event("a-6", { groups: ["order:7"] }), event("a-7"));
  assert.deepEqual(ids(log), ["a-7", "a-6"]);
});

test("a poll that could not ask a group's rule moves a slow connection nowhere", async () => {
  const { client, clock, attempts, last } = play({
    names: ["sse", "poll"],
    groups: ["board", "order:7"],
    position: "a-5",
  });
  client.start();
  clock.advance(600);
  await null;
  await null;
  assert.equal(last().name, "poll");
  last().says({ type: "livepush.hello", position: "a-5", ...failing }, event("a-7"), {
    type: "livepush.position",
    position: "a-5",
  });
  attempts[0].end({ kind: "lost", reason: "cut", retry: 0 });
  clock.advance(1000);
  assert.equal(last().since, "a-5");
});

test("a client that was denied asks again when a tag with the same group comes", () => {
  const { client, last, attempts } = play({ position: "a-0" });
  client.start();
  last().end({ kind: "denied", reason: "403", retry: 0 });
  client.remove(["board"]);
  client.add(["board"], "a-7");
  assert.deepEqual([client.state, attempts.length], ["connecting", 2]);
});

test("a group that is owed events and dropped again is owed none", () => {
  const { client, last, log } = play({ groups: ["board", "order:7"], position: "a-5" });
  client.start();
  last().hello();
  last().says(event("a-6", { groups: ["order:7"] }));
  client.add(["order:7"], "a-5");
  client.remove(["order:7"]);
  last().hello();
  last().says(event("a-6", { groups: ["order:7"] }), event("a-7"));
  assert.deepEqual(ids(log), ["a-6", "a-7"]);
});

test("a group whose connection fails before it is open is still heard from its own position", () => {
  for (const fails of ["the second connection", "the first"]) {
    const { client, clock, attempts, last, log } = play({ position: "a-5" });
    client.start();
    last().hello();
    last().says(event("a-8"));
    client.add(["order:7"], "a-6");
    attempts[fails === "the first" ? 0 : 1].end({ kind: "lost", reason: "cut", retry: 0 });
    clock.advance(1000);
    assert.deepEqual([last().groups, last().since], [["board", "order:7"], "a-6"], fails);
    last().hello();
    last().says(event("a-7", { groups: ["order:7"] }), event("a-8"), event("a-9"));
    assert.deepEqual(ids(log), ["a-8", "a-7", "a-9"], fails);
  }
});

test("a group that came in later is still read from its own position when the connection for it fails", () => {
  const { client, clock, last, log, attempts } = play({ position: "a-5" });
  client.start();
  last().hello();
  last().says(event("a-8"));
  client.add(["order:7"], "a-6");
  last().end({ kind: "lost", reason: "502", retry: 0 });
  assert.deepEqual([attempts[0].closed, client.state], [true, "waiting"]);
  passWait(clock, log);
  assert.deepEqual([last().groups, last().since], [["board", "order:7"], "a-6"]);
  last().hello();
  last().says(event("a-7", { groups: ["order:7"] }), event("a-8"), event("a-9"));
  assert.deepEqual(ids(log), ["a-8", "a-7", "a-9"]);
});

test("a group that comes back while a connection without it opens is not lost", () => {
  const { client, clock, attempts, last, log } = play({ groups: ["board", "order:7"], position: "a-5" });
  client.start();
  last().hello();
  client.remove(["order:7"]);
  client.add(["order:8"], "a-3");
  client.add(["order:7"], "a-6");
  attempts[1].hello();
  clock.advance(20);
  assert.deepEqual(last().groups, ["board", "order:8", "order:7"]);
  last().hello();
  last().says(event("a-6", { groups: ["order:7"] }), event("a-7", { groups: ["order:7"] }));
  assert.deepEqual(ids(log), ["a-7"]);
});

test("a group that is taken back from a client that went back hears nothing twice", () => {
  const { client, last, log } = play({ position: "a-5" });
  client.start();
  last().hello();
  last().says(event("a-8"));
  client.add(["order:7"], "a-6");
  last().hello();
  client.remove(["board"]);
  client.add(["board"]);
  last().says(event("a-7", { groups: ["order:7"] }), event("a-8"), event("a-9"));
  assert.deepEqual(ids(log), ["a-8", "a-7", "a-9"]);
});

test("a group that was refused or revoked is asked for again when it is added again", () => {
  const { client, attempts, last, log } = play({ groups: ["board", "order:7", "order:8"], position: "a-5" });
  client.start();
  last().hello({ groups: ["board", "order:8"], refused: ["order:7"] });
  last().says({ type: "livepush.revoked", groups: ["order:8"], reason: "revoked" }, event("a-6"));
  client.add(["board"]);
  assert.equal(attempts.length, 1);
  client.add(["order:8"]);
  assert.equal(attempts.length, 2);
  client.add(["order:7"], "a-4");
  assert.deepEqual([last().groups, last().since], [["board", "order:7", "order:8"], "a-4"]);
  last().hello();
  assert.deepEqual([client.groups, client.refused], [["board", "order:7", "order:8"], []]);
  const late = ["a-5", "a-6", "a-7"].map((id) => event(id, { groups: ["order:7", "order:8"] }));
  last().says(...late);
  assert.deepEqual(
    log.filter(([name]) => name === "event").map(([, { id, groups, group }]) => [id, ...(groups ?? [group])]),
    [
      ["a-6", "board"],
      ["a-5", "order:7"],
      ["a-6", "order:7"],
      ["a-7", "order:7", "order:8"],
    ],
  );
});

test("a listener that stops the client while it connects leaves nothing behind", () => {
  const { client, clock, attempts, target } = play();
  target.addEventListener("livepush:state", () => client.state === "connecting" && client.stop());
  client.start();
  assert.deepEqual([client.state, attempts.length], ["stopped", 0]);
  assert.equal(clock.pending, 0);
});

test("a transport that can't even begin counts as a failure", () => {
  const { client, log } = play({
    transports: {
      broken() {
        throw new TypeError("no such thing here");
      },
    },
  });
  client.start();
  assert.deepEqual(log.at(-1)[1].reason, "TypeError: no such thing here");
  assert.equal(client.state, "waiting");
});

test("a better transport is tried ever less often, also where a tab remembers that it did not get through", () => {
  for (const remembered of [false, true]) {
    const clock = new Clock();
    fake(globalThis, {
      sessionStorage: remembered ? { livepush: JSON.stringify(["second", clock.time + 60_000]) } : {},
    });
    const { client, attempts, last } = play({ clock });
    client.start();
    if (!remembered) last().end({ kind: "next", reason: "404", retry: 0 });
    last().hello({ heartbeat: 0 });
    assert.equal(client.transport, "second");
    const tries = [];
    for (let second = 0; second < 1000; second++) {
      const before = attempts.length;
      clock.advance(1000);
      if (attempts.length === before) continue;
      tries.push(second);
      last().end({ kind: "next", reason: "404", retry: 0 });
    }
    const gaps = tries.slice(1).map((at, index) => at - tries[index]);
    assert.ok(tries.length >= 4 && tries.length < 12, `${tries}`);
    assert.deepEqual(
      gaps,
      gaps.toSorted((a, b) => a - b),
    );
    assert.deepEqual([client.state, client.transport], ["open", "second"]);
  }
});
