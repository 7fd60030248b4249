import assert from "node:assert/strict";
import { test } from "node:test";
import { createCursor } from "../src/cursor.js";
import { compare, lower } from "../src/position.js";

test("positions compare by number, beyond what a double holds", () => {
  assert.ok(compare("a-9", "a-10") < 0);
  assert.ok(compare("a-10", "a-9") > 0);
  assert.equal(compare("a-10", "a-10"), 0);
  assert.ok(compare("a-9007199254740993", "a-9007199254740992") > 0);
  assert.ok(Number.isNaN(compare("a-1", "b-1")));
});

test("the lower of two positions is the one that is there, or the first where epochs differ", () => {
  assert.equal(lower("a-10", "a-9"), "a-9");
  assert.equal(lower("a-9", "a-10"), "a-9");
  assert.equal(lower(null, "a-9"), "a-9");
  assert.equal(lower("a-9", null), "a-9");
  assert.equal(lower(null, null), null);
  assert.equal(lower("a-10", "b-9"), "a-10");
});

test("an event at or below the cursor is a repeat", () => {
  const cursor = createCursor("a-5");
  assert.deepEqual(
    ["a-4", "a-5", "a-6", "a-6", "a-8", "a-7"].map((id) => cursor.news(id, ["board"], ["board"]).length),
    [0, 0, 1, 0, 1, 0],
  );
  assert.equal(cursor.position, "a-8");
});

test("an ephemeral event is always news and moves nothing", () => {
  const cursor = createCursor("a-5");
  for (const _ of ["once", "again"]) assert.deepEqual(cursor.news(undefined, ["board"], ["board"]), ["board"]);
  assert.equal(cursor.position, "a-5");
});

test("an event of another epoch is news", () => {
  const cursor = createCursor("a-5");
  assert.deepEqual(cursor.news("b-1", ["board"], ["board"]), ["board"]);
  assert.equal(cursor.position, "b-1");
});

/** Go on through events, each with its groups; return those of each to which it is news. */
const heard = (cursor, events) => events.map(([id, ...groups]) => [id, ...cursor.news(id, groups, groups)]);

test("after going back, groups that were there hear nothing twice and new ones everything", () => {
  const cursor = createCursor("a-9");
  cursor.rewind(new Map([["order:7", "a-5"]]), ["board"]);
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
  const cursor = createCursor("a-9");
  cursor.rewind(
    new Map([
      ["board", "a-7"],
      ["order:7", "a-5"],
    ]),
    ["board", "order:7", "order:8"],
  );
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

test("a group that begins further on hears nothing from before", () => {
  const cursor = createCursor("a-5");
  cursor.rewind(new Map([["order:7", "a-8"]]), ["board"]);
  assert.equal(cursor.position, "a-5");
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
  const cursor = createCursor("a-9");
  cursor.rewind(new Map([["order:7", "a-5"]]), ["board"]);
  cursor.news("a-7", ["order:7"], ["order:7"]);
  cursor.rewind(new Map([["order:8", "a-3"]]), ["board", "order:7"]);
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

test("it does not go back to another epoch", () => {
  const cursor = createCursor("a-5");
  cursor.rewind(new Map([["order:7", "b-1"]]), ["board"]);
  assert.equal(cursor.position, "a-5");
  assert.deepEqual(heard(cursor, [["a-6", "board", "order:7"]]), [["a-6", "board", "order:7"]]);
});

test("a reset forgets what groups had", () => {
  const cursor = createCursor("a-9");
  cursor.rewind(new Map([["order:7", "a-5"]]), ["board"]);
  cursor.jumpTo("a-3");
  assert.deepEqual(cursor.news("a-4", ["board"], ["board"]), ["board"]);
});
