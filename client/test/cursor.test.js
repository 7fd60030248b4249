import assert from "node:assert/strict";
import { test } from "node:test";
import { begin, cover, news } from "../src/cursor.js";
import { compare, isAfter, lower } from "../src/position.js";

test("positions compare by number, beyond what a double holds", () => {
  assert.ok(compare("a-9", "a-10") < 0);
  assert.ok(compare("a-10", "a-9") > 0);
  assert.equal(compare("a-10", "a-10"), 0);
  assert.ok(compare("a-9007199254740993", "a-9007199254740992") > 0);
  assert.ok(Number.isNaN(compare("a-1", "b-1")));
});

test("a position may be after one of another epoch, and after none", () => {
  assert.deepEqual(
    [
      ["a-10", "a-9"],
      ["a-9", "a-9"],
      ["a-8", "a-9"],
      ["a-1", "b-2"],
      ["a-1", undefined],
      [null, "a-1"],
    ].map(([a, b]) => isAfter(a, b)),
    [true, false, false, true, true, true],
  );
});

test("the lower of two positions is the one that is there, or the first where epochs differ", () => {
  assert.equal(lower("a-10", "a-9"), "a-9");
  assert.equal(lower("a-9", "a-10"), "a-9");
  assert.equal(lower(null, "a-9"), "a-9");
  assert.equal(lower("a-9", null), "a-9");
  assert.equal(lower(null, null), null);
  assert.equal(lower("a-10", "b-9"), "a-10");
});

/** A cursor whose connection brings some groups the events after a position. */
function reading(groups, position) {
  const cursor = { wanted: new Set(groups), position, heard: new Map(), covered: new Set() };
  cover(cursor, groups, position);
  return cursor;
}

/** Have groups begin after some positions, and go back to where a connection reads from that brings them all. */
function rewind(cursor, since, begins) {
  for (const [group, position] of Object.entries(begins)) {
    begin(cursor, group, position, !cursor.wanted.has(group));
    cursor.wanted.add(group);
  }
  cover(cursor, [...cursor.wanted], since);
}

/** Go on through events, each with its groups; return those of each to which it is news. */
const heard = (cursor, events) => events.map(([id, ...groups]) => [id, ...news(cursor, id, groups)]);

test("an event that a group has had is a repeat", () => {
  const cursor = reading(["board"], "a-5");
  assert.deepEqual(
    ["a-4", "a-5", "a-6", "a-6", "a-8", "a-7"].map((id) => news(cursor, id, ["board"]).length),
    [0, 0, 1, 0, 1, 0],
  );
  assert.equal(cursor.position, "a-8");
});

test("an ephemeral event is always news and moves nothing", () => {
  const cursor = reading(["board"], "a-5");
  for (const _ of ["once", "again"]) assert.deepEqual(news(cursor, undefined, ["board"]), ["board"]);
  assert.equal(cursor.position, "a-5");
});

test("an event of another epoch is news", () => {
  const cursor = reading(["board"], "a-5");
  assert.deepEqual(news(cursor, "b-1", ["board"]), ["board"]);
  assert.equal(cursor.position, "b-1");
});

test("after going back, groups that were there hear nothing twice and new ones everything", () => {
  const cursor = reading(["board"], "a-9");
  rewind(cursor, "a-5", { "order:7": "a-5" });
  assert.equal(cursor.position, "a-5");
  assert.deepEqual(
    heard(cursor, [
      ["a-6", "board"],
      ["a-7", "board", "order:7"],
      ["a-9", "board"],
      ["a-10", "board", "order:7"],
    ]),
    [["a-6"], ["a-7", "order:7"], ["a-9"], ["a-10", "board", "order:7"]],
  );
});

test("a group that is owed events hears them again, from its own position and not from another's", () => {
  const cursor = reading(["board", "order:7", "order:8"], "a-9");
  begin(cursor, "board", "a-7");
  begin(cursor, "order:7", "a-5");
  assert.deepEqual([...cursor.covered], ["order:8"]);
  cover(cursor, ["board", "order:7", "order:8"], "a-5");
  assert.deepEqual(
    heard(cursor, [
      ["a-6", "board", "order:7"],
      ["a-8", "board", "order:8"],
      ["a-10", "order:8"],
    ]),
    [
      ["a-6", "order:7"],
      ["a-8", "board"],
      ["a-10", "order:8"],
    ],
  );
});

test("a group that waits for another connection hears nothing newer before it", () => {
  const cursor = reading(["board", "order:7"], "a-9");
  begin(cursor, "order:7", "a-5");
  assert.deepEqual(heard(cursor, [["a-10", "board", "order:7"]]), [["a-10", "board"]]);
  cover(cursor, ["board", "order:7"], "a-5");
  assert.deepEqual(heard(cursor, [["a-10", "board", "order:7"]]), [["a-10", "order:7"]]);
});

test("a group that begins further on hears nothing from before", () => {
  const cursor = reading(["board"], "a-5");
  rewind(cursor, "a-5", { "order:7": "a-8" });
  assert.deepEqual(
    heard(cursor, [
      ["a-7", "board", "order:7"],
      ["a-9", "order:7"],
    ]),
    [
      ["a-7", "board"],
      ["a-9", "order:7"],
    ],
  );
});

test("going back twice keeps for each group how far it had come", () => {
  const cursor = reading(["board"], "a-9");
  rewind(cursor, "a-5", { "order:7": "a-5" });
  news(cursor, "a-7", ["order:7"]);
  rewind(cursor, "a-3", { "order:8": "a-3" });
  const events = [
    ["a-4", "order:8"],
    ["a-7", "order:7"],
    ["a-8", "order:7"],
    ["a-9", "board"],
    ["a-10", "board"],
  ];
  assert.deepEqual(heard(cursor, events), [
    ["a-4", "order:8"],
    ["a-7"],
    ["a-8", "order:7"],
    ["a-9"],
    ["a-10", "board"],
  ]);
});

test("a group that comes back while the cursor is behind it hears nothing twice", () => {
  const cursor = reading(["board"], "a-9");
  rewind(cursor, "a-5", { "order:7": "a-5" });
  begin(cursor, "board", undefined, true);
  assert.deepEqual(
    heard(cursor, [
      ["a-8", "board"],
      ["a-10", "board"],
    ]),
    [["a-8"], ["a-10", "board"]],
  );
});
