import assert from "node:assert/strict";
import { test } from "node:test";
import { byLease } from "../src/lease.js";
import { Clock, event, fake, load, Profile, play, told } from "./helpers.js";

/** A clock by which no two numbers drawn at random are the same. */
function variedClock() {
  let serial = 0;
  return new Clock(() => {
    serial += 1;
    return serial / 1e6;
  });
}

/** Some tabs of one browser, started one after the other; each with a stage of its own. */
async function open(count, options = {}) {
  const clock = variedClock();
  const profile = new Profile();
  const tabs = [];
  for (let number = 0; number < count; number++) {
    const each = typeof options === "function" ? options(number) : options;
    tabs.push(await join(profile, clock, each));
    if (number === 0) tabs[0].last().hello();
    await told();
  }
  return { tabs, clock, profile };
}

async function join(profile, clock, { hidden = false, ...options } = {}) {
  const tab = profile.tab();
  fake(globalThis, { document: { hidden } });
  const played = play({ clock, tabs: "me", position: "a-0", tab, ...options });
  played.tab = tab;
  played.client.start();
  await told();
  clock.advance(50); // by then it is elected, or follows
  await told();
  return played;
}

const got = ({ log }) => log.filter(([name]) => name === "event").map(([, { id }]) => id);
const roles = (tabs) => tabs.map(({ client }) => client.role);
const states = (tabs) => tabs.map(({ client }) => client.state);

test("one tab connects, and every tab gets each event once", async () => {
  const { tabs } = await open(3);
  assert.deepEqual(roles(tabs), ["leader", "follower", "follower"]);
  assert.deepEqual(states(tabs), ["open", "open", "open"]);
  assert.deepEqual(
    tabs.map(({ attempts }) => attempts.length),
    [1, 0, 0],
  );
  tabs[0].last().says(event("a-1"), event("a-2"), event(undefined, { type: "typing" }));
  await told();
  for (const tab of tabs) assert.deepEqual(got(tab), ["a-1", "a-2", undefined]);
  assert.deepEqual(
    tabs.map(({ client }) => client.transport),
    ["first", "first", "first"],
  );
});

test("the leader reads the groups of all tabs, and each tab gets its own", async () => {
  const { tabs, clock } = await open(2, (number) => ({ groups: [["board"], ["board", "order:7"]][number] }));
  clock.advance(20);
  assert.deepEqual(tabs[0].last().groups, ["board", "order:7"]);
  assert.equal(tabs[0].client.state, "open", "the first connection serves until the second is open");
  tabs[0].last().hello();
  await told();
  assert.deepEqual(states(tabs), ["open", "open"]);
  tabs[0].last().says(event("a-1"), event("a-2", { groups: ["order:7"] }));
  await told();
  assert.deepEqual([got(tabs[0]), got(tabs[1])], [["a-1"], ["a-1", "a-2"]]);
  assert.deepEqual([tabs[0].client.groups, tabs[1].client.groups], [["board"], ["board", "order:7"]]);
});

test("a send to several groups comes to each tab once, with the groups that this tab wants, in its own order", async () => {
  const groups = [["board"], ["order:7", "board"], ["order:7"], ["staff"], ["staff", "order:7", "board"]];
  const { tabs, clock } = await open(5, (number) => ({ groups: groups[number] }));
  clock.advance(20);
  assert.deepEqual(tabs[0].last().groups, ["board", "order:7", "staff"]);
  tabs[0].last().hello();
  await told();
  const sends = [
    { groups: ["board", "order:7"] },
    { groups: ["board", "order:7", "staff"] },
    { groups: ["order:7"] },
  ];
  const said = sends.map((how, index) => event(`a-${index + 1}`, how));
  tabs[0].last().says(...said, event(undefined, sends[0]));
  await told();
  const seen = ({ log }) => log.filter(([name]) => name === "event").map(([, detail]) => detail);
  const [one, two, three, ephemeral] = ["a-1", "a-2", "a-3", undefined].map(
    (id) => (groups) => event(id, { groups }),
  );
  assert.deepEqual(tabs.map(seen), [
    [one(["board"]), two(["board"]), ephemeral(["board"])],
    [one(["order:7", "board"]), two(["order:7", "board"]), three(["order:7"]), ephemeral(["order:7", "board"])],
    [one(["order:7"]), two(["order:7"]), three(["order:7"]), ephemeral(["order:7"])],
    [two(["staff"])],
    [
      one(["order:7", "board"]),
      two(["staff", "order:7", "board"]),
      three(["order:7"]),
      ephemeral(["order:7", "board"]),
    ],
  ]);
  assert.deepEqual(
    tabs.map(({ client }) => client.position),
    ["a-3", "a-3", "a-3", "a-3", "a-3"],
  );
});

test("a follower whose group comes in later hears what is older, also what came through another group", async () => {
  const { tabs, clock } = await open(2);
  const both = { groups: ["board", "order:7"] };
  tabs[0].last().says(event("a-2"));
  await told();
  tabs[1].client.add(["order:7"], "a-0");
  await told();
  clock.advance(20);
  assert.deepEqual([tabs[0].last().groups, tabs[0].last().since], [both.groups, "a-0"]);
  tabs[0].last().hello();
  await told();
  tabs[0].last().says(event("a-1", { groups: ["order:7"] }), event("a-2", both), event("a-3", both));
  await told();
  assert.deepEqual(tabs.map(got), [
    ["a-2", "a-3"],
    ["a-2", "a-1", "a-2", "a-3"],
  ]);
  const [again, both3] = tabs[1].log.slice(-2).map(([, { group, groups }]) => [group, groups]);
  assert.deepEqual(again, ["order:7", undefined]);
  assert.deepEqual(both3, ["board", both.groups]);
});

test("a follower that gets back the only group that was removed follows again", async () => {
  const { tabs, clock } = await open(2);
  tabs[1].client.remove(["board"]);
  clock.advance(20);
  await told();
  assert.equal(tabs[1].client.state, "idle");
  tabs[1].client.add(["board"]);
  await told();
  clock.advance(50);
  await told();
  tabs[0].last().says(event("a-2"));
  await told();
  assert.deepEqual(
    [roles(tabs), states(tabs)],
    [
      ["leader", "follower"],
      ["open", "open"],
    ],
  );
  assert.deepEqual(got(tabs[1]), ["a-2"]);
});

test("a leader that takes up a group which a follower had hears what came before", async () => {
  const { tabs, clock } = await open(2, (number) => ({ groups: number ? ["board", "order:7"] : ["board"] }));
  clock.advance(20);
  tabs[0].last().hello();
  await told();
  tabs[0].last().says(event("a-1", { groups: ["order:7"] }), event("a-2"));
  await told();
  assert.deepEqual(tabs.map(got), [["a-2"], ["a-1", "a-2"]]);
  tabs[0].client.add(["order:7"], "a-0");
  assert.equal(tabs[0].last().since, "a-0");
  tabs[0].last().hello();
  tabs[0].last().says(event("a-1", { groups: ["order:7"] }), event("a-2"), event("a-3"));
  await told();
  assert.deepEqual(tabs.map(got), [
    ["a-2", "a-1", "a-3"],
    ["a-1", "a-2", "a-3"],
  ]);
});

test("when the leader is stopped, crashes or is put aside, another goes on where that tab was", async () => {
  for (const way of ["stop", "pause", "crash"]) {
    const { tabs } = await open(3);
    tabs[0].last().says(event("a-1"));
    await told();
    if (way === "crash") tabs[0].tab.crash();
    else tabs[0].client[way]();
    await told();
    assert.deepEqual(roles(tabs.slice(1)), ["leader", "follower"], way);
    assert.equal(tabs[1].last().since, "a-1");
    tabs[1].last().hello();
    await told();
    tabs[1].last().says(event("a-2"));
    await told();
    assert.deepEqual(tabs.slice(1).map(got), [["a-1", "a-2"], ["a-1", "a-2"]], way); // biome-ignore format: a table
    assert.deepEqual(states(tabs.slice(1)), ["open", "open"]);
  }
});

test("a leader that says nothing is asked, and replaced where it does not answer", async () => {
  const { tabs, clock } = await open(3);
  fake(globalThis, { fetch: () => new Promise(() => {}) }); // a tab that comes back polls for what it missed
  const pass = async (seconds) => {
    for (let second = 0; second < seconds; second++) {
      clock.advance(1000);
      await told();
    }
  };
  await pass(20);
  assert.deepEqual(roles(tabs), ["leader", "follower", "follower"], "it answers");
  tabs[0].tab.frozen = true;
  await pass(15);
  assert.deepEqual(roles(tabs).toSorted(), ["alone", "follower", "leader"]);
  assert.equal(tabs[0].client.role, "alone", "it hears nobody");
  const next = tabs.find(({ client }) => client.role === "leader");
  tabs[0].tab.frozen = false;
  next.last().hello();
  next.last().says(event("a-1"));
  tabs[0].client.wake();
  await told();
  await pass(10);
  next.last().says(event("a-2"));
  await told();
  assert.deepEqual(got(next), ["a-1", "a-2"]);
  assert.equal(tabs[0].client.role, "follower");
});

test("followers show how the leader's connection is", async () => {
  const { tabs, clock } = await open(2);
  tabs[0].client.cut();
  await told();
  assert.deepEqual(states(tabs), ["waiting", "waiting"]);
  assert.equal(tabs[1].log.at(-1)[1].reason, "cut");
  clock.advance(1000);
  tabs[0].last().hello();
  await told();
  assert.deepEqual(states(tabs), ["open", "open"]);
  tabs[0].last().says(event("a-1"));
  await told();
  assert.deepEqual(tabs.map(got), [["a-1"], ["a-1"]]); // biome-ignore format: a table
});

test("a reset comes to every tab", async () => {
  const { tabs } = await open(2);
  tabs[0].last().says({ type: "livepush.reset", position: "b-5", reason: "epoch" }, event("b-6"));
  await told();
  for (const { client, log } of tabs) {
    assert.deepEqual(
      log.filter(([name]) => name === "reset").map(([, { reason }]) => reason),
      ["epoch"],
    );
    assert.equal(client.position, "b-6");
  }
});

test("a tab whose groups are all refused is denied, the others live on", async () => {
  const { tabs, clock } = await open(2, (number) => ({ groups: [["board"], ["staff"]][number] }));
  clock.advance(20);
  tabs[0].last().hello({ groups: ["board"], refused: ["staff"] });
  await told();
  assert.deepEqual(states(tabs), ["open", "denied"]);
});

test("what was refused is asked for again when another tab opens with it", async () => {
  const { tabs, clock, profile } = await open(1, { groups: ["board", "staff"] });
  tabs[0].last().hello({ groups: ["board"], refused: ["staff"] });
  tabs.push(await join(profile, clock, { groups: ["board", "staff"] }));
  clock.advance(20);
  assert.equal(tabs[0].attempts.length, 2);
  tabs[0].last().hello();
  await told();
  clock.advance(20);
  assert.deepEqual(
    tabs.map(({ client, attempts }) => [client.groups, client.refused, attempts.length]),
    [
      [["board", "staff"], [], 2],
      [["board", "staff"], [], 0],
    ],
  );
});

test("a page that was refused leads nobody once it is put aside", async () => {
  const { tabs } = await open(2, (number) => ({ groups: [["staff"], ["board"]][number] }));
  tabs[0].last().end({ kind: "denied", reason: "403", retry: 0 });
  tabs[0].client.pause();
  await told();
  assert.deepEqual([tabs[0].client.state, tabs[1].client.role], ["paused", "leader"]);
  tabs[1].last().hello();
  assert.equal(tabs[1].client.state, "open");
});

test("a leader with no group left of its own serves the others", async () => {
  const { tabs, clock } = await open(2);
  tabs[0].client.remove(["board"]);
  tabs[0].client.cut();
  clock.advance(1000);
  tabs[0].last().hello();
  tabs[0].last().says(event("a-1"));
  await told();
  assert.deepEqual([got(tabs[0]), got(tabs[1])], [[], ["a-1"]]);
});

test("tabs with more groups than a connection may have use several", async () => {
  const { tabs } = await open(2, (number) => ({ most: 2, groups: [["a", "b"], ["c"]][number] }));
  assert.deepEqual(roles(tabs), ["leader", "alone"]);
  assert.deepEqual(tabs[1].last().groups, ["c"]);
});

test("another user's tabs share nothing with these", async () => {
  const { tabs } = await open(2, (number) => ({ tabs: `user ${number}` }));
  assert.deepEqual(roles(tabs), ["leader", "leader"]);
});

test("without channels between tabs, each has its own connection", async () => {
  const { client, last } = play({ tabs: "me" });
  client.start();
  assert.equal(client.role, "alone");
  last().hello();
  assert.equal(client.state, "open");
});

test("a leader that wants nothing itself any more goes on for the others", async () => {
  const { tabs, clock } = await open(2);
  tabs[0].client.remove(["board"]);
  tabs[0].client.cut();
  clock.advance(1000);
  assert.deepEqual(tabs[0].last().groups, ["board"]);
  tabs[0].last().hello();
  tabs[0].last().says(event("a-1"));
  await told();
  assert.deepEqual(tabs.map(got), [[], ["a-1"]]); // biome-ignore format: a table
});

test("a right that ended while the leader was away is told to every tab", async () => {
  const { tabs, clock } = await open(2, { groups: ["board", "order:7"] });
  tabs[0].client.cut();
  clock.advance(1000);
  tabs[0].last().hello({ groups: ["board"], refused: ["order:7"] });
  await told();
  for (const { client, log } of tabs) {
    assert.deepEqual(log.at(-1), ["revoked", { groups: ["order:7"], reason: "refused" }]);
    assert.deepEqual([client.groups, client.refused], [["board"], ["order:7"]]);
  }
});

test("a refusal of all groups while the leader was away is told to every tab, which opens again with the leader", async () => {
  const { tabs, clock } = await open(2, (number) => ({ groups: [["board"], ["board", "order:7"]][number] }));
  const [a, b] = tabs;
  clock.advance(20);
  a.last().hello();
  await told();
  a.client.cut();
  clock.advance(1000);
  a.last().end({ kind: "denied", reason: "403", retry: 0 });
  await told();
  for (const { client, log } of tabs) {
    assert.deepEqual(log.at(-1), ["revoked", { groups: client.refused, reason: "refused" }]);
    assert.deepEqual([client.state, client.groups], ["denied", []]);
  }
  assert.deepEqual([a.client.refused, b.client.refused], [["board"], ["board", "order:7"]]);
  a.client.start();
  a.last().hello();
  await told();
  assert.deepEqual(states(tabs), ["open", "open"]);
  assert.deepEqual([b.client.groups, b.client.refused], [["board", "order:7"], []]);
});

test("a follower that asks changes nothing for the leader's page", async () => {
  const { tabs } = await open(2, (number) => ({ groups: [["board"], ["order:7"]][number] }));
  assert.deepEqual(
    tabs[0].log.map(([, { state }]) => state),
    ["connecting", "open"],
  );
});

test("a tab that was told to wait and then follows asks for new groups at once", async () => {
  const { tabs, clock } = await open(2);
  const [a, b] = tabs;
  a.last().end({ kind: "lost", reason: "503", retry: 120_000 });
  a.client.pause();
  await told();
  clock.advance(50);
  await told();
  b.last().hello();
  a.tab.enter();
  a.client.start();
  await told();
  clock.advance(50);
  await told();
  assert.deepEqual([roles(tabs), states(tabs)], [["follower", "leader"], ["open", "open"]]); // biome-ignore format: a table
  a.client.add(["order:7"], "a-0");
  await told();
  clock.advance(20);
  assert.deepEqual(b.last().groups, ["board", "order:7"]);
  b.last().hello();
  await told();
  b.last().says(event("a-1", { groups: ["order:7"] }));
  await told();
  assert.deepEqual(tabs.map(got), [["a-1"], []]);
});

test("after a sleep of the machine a leader is asked anew, and not replaced", async () => {
  const { tabs, clock } = await open(2);
  clock.advance(5500); // the follower asks, and the machine goes to sleep before the answer is told
  clock.time += 3_600_000;
  clock.advance(0);
  await told();
  assert.deepEqual(roles(tabs), ["leader", "follower"]);
});

test("a refusal of groups says nothing of those that another tab has asked for meanwhile", async () => {
  const { tabs, clock } = await open(2, (number) => ({ groups: [["a"], ["b"]][number] }));
  const [a, b] = tabs;
  clock.advance(20);
  a.last().hello();
  await told();
  a.client.cut();
  clock.advance(1000);
  b.client.add(["c"]);
  await told();
  a.last().end({ kind: "denied", reason: "403", retry: 0 });
  await told();
  assert.deepEqual([a.last().groups, states(tabs)], [["a", "b", "c"], ["connecting", "connecting"]]); // biome-ignore format: a table
  a.last().hello({ groups: ["c"], refused: ["a", "b"] });
  await told();
  assert.deepEqual([b.client.state, b.client.groups, b.client.refused], ["open", ["c"], ["b"]]);
});

test("a follower that was silent for too long hears nothing before it has asked from where it was", async () => {
  const { tabs, clock } = await open(3, (number) => ({ groups: [["a"], ["a"], ["g"]][number] }));
  const [a, b, c] = tabs;
  clock.advance(20);
  a.last().hello();
  await told();
  clock.time += 3_600_000; // the machine sleeps; the timers of a hidden tab are late afterwards
  b.client.wake();
  await told();
  a.last().end({ kind: "lost", reason: "ended", retry: 0 });
  a.client.wake();
  assert.deepEqual(a.last().groups, ["a"]);
  a.last().hello();
  a.last().says(event("a-2", { groups: ["a"] }));
  await told();
  c.client.wake();
  await told();
  clock.advance(20);
  assert.deepEqual([a.last().groups, a.last().since], [["a", "g"], "a-0"]);
  a.last().hello();
  await told();
  a.last().says(event("a-1", { groups: ["g"] }), event("a-2", { groups: ["a"] }));
  await told();
  assert.deepEqual([states(tabs), tabs.map(got)], [["open", "open", "open"], [["a-2"], ["a-2"], ["a-1"]]]); // biome-ignore format: a table
});

test("a follower that asks for a group while the leader opens a connection without it misses nothing", async () => {
  const { tabs, clock, profile } = await open(2, (number) => ({ groups: [["a"], ["g"]][number] }));
  const [a, b] = tabs;
  const log = [event("a-1", { groups: ["g"] }), event("a-2", { groups: ["a"] })];
  const serve = (attempt) => {
    attempt.hello();
    attempt.says(...log.filter(({ id, group }) => attempt.groups.includes(group) && id > attempt.since));
  };
  clock.advance(20);
  a.last().hello();
  await told();
  b.client.stop(); // the page moves on to another one with the same group
  await told();
  clock.advance(20);
  const without = a.last();
  assert.deepEqual(without.groups, ["a"]);
  const next = await join(profile, clock, { groups: ["g"] });
  assert.equal(next.client.state, "open");
  serve(without);
  await told();
  clock.advance(20);
  serve(a.last());
  await told();
  assert.deepEqual([got(a), got(next), a.client.position], [["a-2"], ["a-1"], "a-2"]);
});

test("without locks a lease in localStorage says who leads, until that tab leaves or the lease is over", async () => {
  const clock = variedClock();
  const profile = new Profile({ locks: undefined });
  profile.storage["livepush:/livepush/:me"] = JSON.stringify([0.1, clock.time + 5000]); // of a tab that crashed
  const tabs = [await join(profile, clock), await join(profile, clock)];
  const pass = async (seconds) => {
    for (let second = 0; second < seconds; second++) {
      clock.advance(1000);
      await told();
    }
  };
  assert.deepEqual(roles(tabs), ["follower", "follower"]);
  await pass(1);
  assert.deepEqual(roles(tabs), ["alone", "alone"]);
  for (const tab of tabs) tab.last().hello();
  await pass(9);
  const leader = tabs.find(({ client }) => client.role === "leader");
  const other = tabs.find((tab) => tab !== leader);
  assert.equal(other.client.role, "follower");
  assert.equal(leader.attempts.length, 1, "it had connected already");
  assert.deepEqual(states(tabs), ["open", "open"]);
  leader.client.stop();
  await pass(5);
  assert.deepEqual([other.client.role, other.last().since], ["leader", "a-0"]);
});

test("a tab that can't write its lease is not told of the others' leases", () => {
  const listening = [];
  fake(globalThis, {
    localStorage: new Proxy({}, { set: () => false }), // it is full
    addEventListener: (name) => listening.push(name),
  });
  assert.throws(() => byLease("lease", () => assert.fail("it leads")), TypeError);
  assert.deepEqual(listening, []);
});

test("whatever of the browser is missing, refused or hangs, a tab is alone within a second", async () => {
  const never = () => new Promise(() => {});
  const ways = {
    "locks are refused": { locks: { request: () => Promise.reject(new DOMException("", "SecurityError")) } },
    "locks throw": {
      locks: {
        request() {
          throw new DOMException("", "InvalidStateError");
        },
      },
    },
    "locks hang": { locks: { request: never } },
    "there are no channels": { channel: undefined },
    "channels are refused": {
      channel: class {
        constructor() {
          throw new DOMException("", "SecurityError");
        }
      },
    },
    "there is no storage": { locks: undefined, storage: undefined },
  };
  for (const [way, browser] of Object.entries(ways)) {
    const clock = variedClock();
    const profile = new Profile(browser);
    const tabs = [await join(profile, clock), await join(profile, clock)];
    await told();
    clock.advance(1000);
    await told();
    assert.deepEqual(roles(tabs), ["alone", "alone"], way);
    for (const tab of tabs) tab.last().hello();
    assert.deepEqual(states(tabs), ["open", "open"], way);
  }
});

test("what comes with the leader's hello comes to the followers that wait for it too", async () => {
  const clock = variedClock();
  const profile = new Profile();
  const tabs = [await join(profile, clock), await join(profile, clock)];
  await told();
  const hello = { type: "livepush.hello", position: "a-0", groups: ["board"], refused: [], heartbeat: 15 };
  tabs[0].last().says(hello, event("a-1"), event("a-2"));
  await told();
  tabs[0].last().says(event("a-3"));
  await told();
  assert.deepEqual(tabs.map(got), [
    ["a-1", "a-2", "a-3"],
    ["a-1", "a-2", "a-3"],
  ]);
});

test("a tab loads what it needs to follow once another one leads, and not before", async () => {
  const asked = [];
  const { tabs } = await open(3, (number) => ({
    load: async (name) => {
      asked.push([number, name]);
      return load();
    },
  }));
  assert.deepEqual(roles(tabs), ["leader", "follower", "follower"]);
  assert.deepEqual(asked, [
    [1, "fallback"],
    [2, "fallback"],
  ]);
});

test("a tab that can't load what it needs to follow connects by itself, and follows once it can", async () => {
  let come;
  const loaded = new Promise((resolve) => {
    come = resolve;
  });
  const { tabs, clock } = await open(2, (number) => ({ load: number ? () => loaded : load }));
  clock.advance(1000);
  await told();
  assert.deepEqual(roles(tabs), ["leader", "alone"]);
  tabs[1].last().hello();
  for (const tab of tabs) tab.last().says(event("a-1"));
  await told();
  assert.deepEqual(states(tabs), ["open", "open"], "what the leader says is not for a tab that can't follow");
  come(await load());
  await told();
  assert.deepEqual(roles(tabs), ["leader", "follower"]);
  tabs[0].last().says(event("a-2"));
  await told();
  assert.deepEqual(tabs.map(got), [
    ["a-1", "a-2"],
    ["a-1", "a-2"],
  ]);
});

test("a hidden tab that can't load what it needs to follow takes no connection before somebody looks at it", async () => {
  const { tabs, clock } = await open(2, (number) => ({
    load: number ? () => new Promise(() => {}) : load,
    hidden: true,
  }));
  clock.advance(20_000);
  await told();
  assert.deepEqual(
    [roles(tabs), states(tabs)],
    [
      ["leader", "follower"],
      ["open", "connecting"],
    ],
  );
  document.hidden = false;
  clock.advance(6000);
  await told();
  tabs[1].last().hello();
  assert.deepEqual(
    [roles(tabs), states(tabs)],
    [
      ["leader", "alone"],
      ["open", "open"],
    ],
  );
});

test("a tab that a slow leader answers late follows it, and misses nothing", async () => {
  const { tabs, clock, profile } = await open(1);
  tabs[0].tab.late = [];
  tabs.push(await join(profile, clock));
  clock.advance(1000);
  await told();
  assert.equal(tabs[1].client.role, "alone");
  tabs[1].last().hello();
  tabs[1].last().says(event("a-1"));
  tabs[0].last().says(event("a-1"));
  const { late } = tabs[0].tab;
  tabs[0].tab.late = undefined;
  for (const hear of late) hear();
  await told();
  tabs[0].last().says(event("a-2"));
  await told();
  assert.deepEqual([tabs[1].client.role, tabs[1].client.state], ["follower", "open"]);
  tabs[0].last().says(event("a-3"));
  await told();
  assert.deepEqual(got(tabs[1]), ["a-1", "a-2", "a-3"]);
});

test("a tab that opens asks again for the group that its leader was denied", async () => {
  const clock = variedClock();
  const profile = new Profile();
  const a = await join(profile, clock);
  a.last().end({ kind: "denied", reason: "403", retry: 0 });
  await told();
  const b = await join(profile, clock);
  clock.advance(20);
  assert.deepEqual([a.attempts.length, a.client.state], [2, "connecting"]);
  a.last().hello();
  await told();
  assert.deepEqual([a.client.state, b.client.state], ["open", "open"]);
});

test("a leader that wants too many groups has a connection of its own, and another tab leads", async () => {
  const { tabs, clock } = await open(2, (number) => ({ most: 3, groups: [["a", "b"], ["c"]][number] }));
  const [a, b] = tabs;
  clock.advance(20);
  a.last().hello();
  await told();
  a.client.add(["d"], "a-0");
  await told();
  clock.advance(100);
  await told();
  assert.deepEqual([a.client.role, a.last().groups], ["alone", ["a", "b", "d"]]);
  assert.deepEqual([b.client.role, b.last().groups], ["leader", ["c"]]);
});

/** A hello that grants one group, because the rule of the other one failed. */
const failing = { groups: ["board"], refused: ["order:7"], failed: ["order:7"] };

test("when a leader goes whose group's rule failed, the next one asks for what it was not told", async () => {
  const { tabs, clock } = await open(2, { groups: ["board", "order:7"] });
  const [a, b] = tabs;
  a.last().says(event("a-5"));
  a.last().end({ kind: "lost", reason: "bye", retry: 0 });
  clock.advance(1000);
  a.last().hello(failing);
  a.last().says(event("a-7"));
  await told();
  assert.deepEqual(got(b), ["a-5", "a-7"]);
  a.client.stop();
  await told();
  clock.advance(50);
  await told();
  assert.deepEqual([b.client.role, b.last().since], ["leader", "a-5"]);
  b.last().hello();
  b.last().says(event("a-6", { groups: ["order:7"] }), event("a-7"));
  assert.deepEqual(got(b), ["a-5", "a-7", "a-6"]);
});

test("a follower of a leader whose group's rule failed is owed the group's events too, and is not denied", async () => {
  const clock = variedClock();
  const profile = new Profile();
  const a = await join(profile, clock, { groups: ["board", "order:7"], position: "a-5" });
  a.last().hello(failing);
  const b = await join(profile, clock, { groups: ["order:7"], position: "a-5" });
  clock.advance(20); // the leader asks again for a group that was refused
  await told();
  a.last().hello(failing);
  await told();
  assert.notEqual(b.client.state, "denied");
  for (let second = 0; second < 5; second++) {
    clock.advance(1000);
    await told();
  }
  a.last().hello();
  await told();
  a.last().says(event("a-6", { groups: ["order:7"] }));
  await told();
  assert.deepEqual([b.client.state, got(a), got(b)], ["open", ["a-6"], ["a-6"]]);
});

/** The leader's connection ends, and the next one begins with a hello. */
async function reconnectWith({ last }, clock, hello) {
  last().end({ kind: "lost", reason: "bye", retry: 0 });
  clock.advance(1000);
  last().hello(hello);
  await told();
}

test("a follower whose only group's rule fails for a while asks again, and misses nothing", async () => {
  const { tabs, clock } = await open(2, (number) => ({ groups: [["board"], ["order:7"]][number] }));
  const [a, b] = tabs;
  clock.advance(20);
  a.last().hello();
  await told();
  a.last().says(event("a-5", { groups: ["order:7"] }));
  await told();
  await reconnectWith(a, clock, failing);
  assert.equal(b.client.state, "waiting");
  clock.advance(1000); // the follower asks again, and the leader asks for it
  await told();
  clock.advance(20);
  assert.deepEqual([a.last().groups, a.last().since], [["board", "order:7"], "a-5"]);
  a.last().hello();
  await told();
  a.last().says(event("a-6", { groups: ["order:7"] }));
  await told();
  assert.deepEqual([b.client.state, got(b)], ["open", ["a-5", "a-6"]]);
});

for (const [kind, hello] of Object.entries({ failed: failing, refused: { ...failing, failed: undefined } })) {
  test(`a follower whose group ${kind} asks again once the leader has it back, and is owed nothing more`, async () => {
    const { tabs, clock } = await open(2, { groups: ["board", "order:7"] });
    const [a, b] = tabs;
    a.last().says(event("a-5"));
    await told();
    await reconnectWith(a, clock, hello);
    assert.deepEqual(b.client.refused, ["order:7"]);
    await reconnectWith(a, clock, {});
    assert.deepEqual([b.client.groups, b.client.refused], [["board", "order:7"], []]);
    a.last().says(event("a-900", { groups: ["board", "order:7"] }));
    await told();
    assert.deepEqual(got(b), ["a-5", "a-900"]);
    a.client.stop();
    await told();
    clock.advance(50);
    await told();
    assert.deepEqual([b.client.role, b.last().since], ["leader", "a-900"]);
  });
}

test("tabs whose group failed and was then refused are owed nothing more", async () => {
  const { tabs, clock } = await open(2, { groups: ["board", "order:7"] });
  const [a, b] = tabs;
  await reconnectWith(a, clock, failing);
  await reconnectWith(a, clock, { ...failing, failed: undefined });
  clock.advance(20); // the follower has asked again for all its groups
  a.last().hello({ ...failing, failed: undefined });
  await told();
  const connections = a.attempts.length;
  clock.advance(100);
  assert.equal(a.attempts.length, connections, "it asks no more");
  a.last().says(event("a-900"));
  await told();
  a.client.stop();
  await told();
  clock.advance(50);
  await told();
  assert.deepEqual([b.client.role, b.last().since], ["leader", "a-900"]);
});

test("a leader that was refused a group is owed none of its events", async () => {
  const { tabs, clock } = await open(1, { groups: ["board", "order:7"] });
  const [a] = tabs;
  a.last().says(event("a-5"));
  await reconnectWith(a, clock, { ...failing, failed: undefined });
  a.last().says(event("a-900"));
  a.last().end({ kind: "lost", reason: "bye", retry: 0 });
  clock.advance(1000);
  assert.equal(a.last().since, "a-900");
});

for (const [how, groups, change] of [
  ["other", ["order:7"], (client) => client.remove(["board"])],
  ["more", ["board", "order:7"], () => {}],
]) {
  test(`a follower that asks for ${how} groups meanwhile does not take the answer to what it asked before`, async () => {
    const { tabs, clock } = await open(2);
    const [a, b] = tabs;
    b.client.pause(); // it comes back, and is busy when the answer comes
    b.tab.enter();
    b.tab.late = [];
    b.client.start();
    await told();
    clock.advance(50);
    await told();
    change(b.client);
    b.client.add(["order:7"], "a-0");
    await told();
    const { late } = b.tab;
    b.tab.late = undefined;
    for (const hear of late) hear();
    await told();
    assert.equal(b.client.state, "connecting");
    clock.advance(20);
    await told();
    a.last().hello();
    await told();
    a.last().says(event("a-6", { groups: ["order:7"] }));
    await told();
    assert.deepEqual([b.client.state, b.client.groups, got(b)], ["open", groups, ["a-6"]]);
  });
}

test("a follower that asks from further back for a group that was refused has the leader's page told nothing twice", async () => {
  const groups = ["board", "order:7"];
  const { tabs, clock, profile } = await open(1, { groups });
  const [a] = tabs;
  a.last().says(event("a-5", { groups: ["order:7"] }));
  await reconnectWith(a, clock, failing);
  await join(profile, clock, { groups });
  const asked = [];
  let arrive;
  const arrived = new Promise((resolve) => {
    arrive = resolve;
  });
  fake(globalThis, {
    fetch: (url) => {
      asked.push(url.searchParams.get("since"));
      arrive();
      return new Promise(() => {});
    },
  });
  clock.advance(20);
  const { since } = a.last();
  a.last().hello();
  a.last().says(event("a-5", { groups: ["order:7"] }), event("a-6", { groups: ["order:7"] }));
  await arrived;
  assert.deepEqual(got(a), ["a-5", "a-6"]);
  assert.deepEqual([since, asked], ["a-5", ["a-0"]], "the follower fetches what it alone has not had");
});
