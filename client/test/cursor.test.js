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
    ["a-4", "a-5", "a-6", "a-6", "a-8", "a-7"].map((id) => cursor.isNews(id, ["board"])),
    [false, false, true, false, true, false],
  );
  assert.equal(cursor.position, "a-8");
});

test("an ephemeral event is always news and moves nothing", () => {
  const cursor = createCursor("a-5");
  assert.deepEqual([cursor.isNews(undefined, ["board"]), cursor.isNews(undefined, ["board"])], [true, true]);
  assert.equal(cursor.position, "a-5");
});

test("an event of another epoch is news", () => {
  const cursor = createCursor("a-5");
  assert.equal(cursor.isNews("b-1", ["board"]), true);
  assert.equal(cursor.position, "b-1");
});

test("after going back, groups that were there hear nothing twice and new ones everything", () => {
  const cursor = createCursor("a-9");
  cursor.rewind("a-5", ["board"]);
  assert.equal(cursor.position, "a-5");
  const heard = [
    ["a-6", "board"],
    ["a-7", "order:7"],
    ["a-9", "board"],
    ["a-10", "board"],
    ["a-11", "order:7"],
  ].filter(([id, group]) => cursor.isNews(id, [group]));
  assert.deepEqual(
    heard.map(([id]) => id),
    ["a-7", "a-10", "a-11"],
  );
});

test("after going back, a send is no news where one of its groups has had it", () => {
  const cursor = createCursor("a-9");
  cursor.rewind("a-5", ["board"]);
  const both = ["order:7", "board"];
  assert.deepEqual(
    ["a-6", "a-9", "a-10"].map((id) => cursor.isNews(id, both)),
    [false, false, true],
  );
});

test("going back twice keeps for each group how far it had come", () => {
  const cursor = createCursor("a-9");
  cursor.rewind("a-5", ["board"]);
  cursor.isNews("a-7", ["order:7"]);
  cursor.rewind("a-3", ["board", "order:7"]);
  const heard = [
    ["a-4", "order:8"],
    ["a-7", "order:7"],
    ["a-8", "order:7"],
    ["a-9", "board"],
    ["a-10", "board"],
  ].filter(([id, group]) => cursor.isNews(id, [group]));
  assert.deepEqual(
    heard.map(([id]) => id),
    ["a-4", "a-8", "a-10"],
  );
});

test("a cursor never goes forward by going back, nor into another epoch", () => {
  const cursor = createCursor("a-5");
  for (const position of ["a-6", "b-1", null]) cursor.rewind(position, ["board"]);
  assert.equal(cursor.position, "a-5");
  assert.equal(cursor.isNews("a-6", ["board"]), true);
});

test("a reset forgets what groups had", () => {
  const cursor = createCursor("a-9");
  cursor.rewind("a-5", ["board"]);
  cursor.jumpTo("a-3");
  assert.equal(cursor.isNews("a-4", ["board"]), true);
});
