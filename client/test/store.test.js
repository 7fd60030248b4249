import assert from "node:assert/strict";
import { test } from "node:test";

let number = 0;

/** A store of the test's own, as a page that was made at a-10 has it. */
const open = async (said = {}) => {
  number += 1;
  const store = await import(`../src/inbox/store.js?${number}`);
  const told = [];
  store.begin({ unseen: 2, unread: 5, version: 3, position: "a-10", ...said }, () => told.push(counts()));
  const counts = () => [store.count("unseen"), store.count("unread")];
  const come = (id, collapse = "", group = "user:7") => store.add({ id, group, data: { collapse } });
  return { ...store, counts, come, told };
};

test("what comes behind the page's position is counted, and is news", async () => {
  const { counts, come, told } = await open();
  assert.equal(come("a-11"), true);
  assert.equal(come("a-12"), true);
  assert.deepEqual(counts(), [4, 7]);
  assert.deepEqual(told, [
    [3, 6],
    [4, 7],
  ]);
});

test("what the page counts already is neither counted again nor news", async () => {
  const { counts, come } = await open();
  assert.equal(come("a-9"), false);
  assert.equal(come("a-10"), false);
  assert.deepEqual(counts(), [2, 5]);
});

test("what collapses into one is counted once; in another group it is another", async () => {
  const { counts, come } = await open();
  for (const id of ["a-11", "a-12", "a-13"]) come(id, "c");
  come("a-14", "c", "inbox:all");
  assert.deepEqual(counts(), [4, 7]);
});

test("a later count of the server's takes the place of what was added up", async () => {
  const { counts, come, take } = await open();
  come("a-11");
  come("a-14");
  take({ unseen: 0, unread: 6, version: 4, position: "a-12" });
  assert.deepEqual(counts(), [1, 7]);
  take({ unseen: 0, unread: 7, version: 4, position: "a-15" });
  assert.deepEqual(counts(), [0, 7]);
});

test("a notification that comes after a count that has it is not counted twice", async () => {
  const { counts, come, take } = await open();
  take({ unseen: 3, unread: 6, version: 3, position: "a-12" });
  assert.equal(come("a-11"), true, "but it is news to the page");
  assert.deepEqual(counts(), [3, 6]);
});

test("a change that was made before the last one that is known is ignored", async () => {
  const { counts, take } = await open();
  take({ unseen: 9, unread: 9, version: 2, position: "a-20" });
  take({ unseen: 9, unread: 9, version: 3, position: "a-9" });
  assert.deepEqual(counts(), [2, 5]);
});

test("a later change counts, though it stands at an earlier position", async () => {
  const { counts, come, take } = await open();
  come("a-11");
  take({ unseen: 3, unread: 6, version: 3, position: "a-11" });
  take({ unseen: 0, unread: 5, version: 4, position: "a-10" });
  assert.deepEqual(counts(), [1, 6]);
});

test("another epoch is taken whatever its version", async () => {
  const { counts, take } = await open();
  take({ unseen: 1, unread: 1, version: 1, position: "b-4" });
  assert.deepEqual(counts(), [1, 1]);
});

test("counts stop at a hundred", async () => {
  const { counts, come } = await open({ unseen: 99, unread: 100 });
  come("a-11");
  come("a-12");
  assert.deepEqual(counts(), [100, 100]);
});

test("what is told again is neither counted again nor news", async () => {
  const { counts, come } = await open();
  const all = () => [come("a-11"), come("a-12", "c"), come("a-13", "c"), come("a-14")];
  assert.deepEqual(all(), [true, true, true, true]);
  assert.deepEqual(all(), [false, false, false, false]);
  assert.deepEqual(counts(), [5, 8]);
});

test("a page that is open for weeks keeps a bounded number, and counts no slower", async () => {
  const { counts, come, catchUp } = await open({ unseen: 0, unread: 0 });
  const started = process.cpuUsage().user;
  for (let number = 11; number < 20_011; number++) come(`a-${number}`);
  assert.ok(process.cpuUsage().user - started < 20_000_000, "it took half an hour once");
  assert.deepEqual(counts(), [100, 100]);
  const waits = [];
  for (const position of ["a-20009", "a-20010"]) catchUp(position, (wait) => waits.push(wait));
  assert.deepEqual(waits, [500]);
});

test("what the server can't file is asked for less and less often, and soon again once it was there", async () => {
  const { come, catchUp } = await open();
  come("a-11");
  const waits = [];
  const answered = (position) => catchUp(position, (wait) => waits.push(wait));
  for (let time = 0; time < 10; time++) answered("a-10");
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  answered("a-11");
  come("a-12");
  answered("a-11");
  assert.deepEqual(waits.slice(10), [500]);
});
