import assert from "node:assert/strict";
import { test } from "node:test";
import { sseParser } from "../src/sse-parser.js";

const encoder = new TextEncoder();

function parse(...chunks) {
  const seen = [];
  const take = sseParser((data) => seen.push(data));
  for (const chunk of chunks) take(typeof chunk === "string" ? encoder.encode(chunk) : chunk);
  return seen;
}

test("an event ends at the blank line, not before", () => {
  assert.deepEqual(parse("data: one\n"), []);
  assert.deepEqual(parse("data: one\n", "\n"), ["one"]);
});

test("a stream split at any one byte gives the same events", () => {
  const text =
    "\uFEFF:\r\nid: a-1\r\ndata: grüße 🚚\r\n\r\n:\ndata: two\ndata: lines\n\ndata:three\r\rdata: \u2028x\n\n";
  const bytes = encoder.encode(text);
  const expected = ["grüße 🚚", "two\nlines", "three", "\u2028x"];
  for (let offset = 0; offset <= bytes.length; offset += 1) {
    assert.deepEqual(parse(bytes.slice(0, offset), bytes.slice(offset)), expected, `split at ${offset}`);
  }
  assert.deepEqual(parse(...[...bytes].map((byte) => Uint8Array.of(byte))), expected);
});

test("a return at the end of a piece ends the line at once, and its newline does not end another", () => {
  assert.deepEqual(parse("data: a\r"), []);
  assert.deepEqual(parse("data: a\r\r"), ["a"]);
  assert.deepEqual(parse("data: a\r", "\ndata: b\r", "\n", "\r", "\n"), ["a\nb"]);
});

test("a heartbeat between the lines of an event changes nothing", () => {
  assert.deepEqual(parse("id: a-1\n:\ndata: x\n:\n\n:\n:\n"), ["x"]);
});

test("only data makes an event", () => {
  assert.deepEqual(parse("id: a-1\nevent: note\nretry: 5\nunknown\n\n", "database: x\n\n"), []);
});

test("one space after the colon is dropped, no more", () => {
  assert.deepEqual(parse("data:x\n\ndata:  x\n\ndata\n\ndata:\ndata: \n\n"), ["x", " x", "", "\n"]);
});

test("a byte order mark is dropped at the start alone", () => {
  assert.deepEqual(parse("\uFEFFdata: a\n\ndata: \uFEFFb\n\n"), ["a", "\uFEFFb"]);
});

test("an event cut off by the end of the stream is never given", () => {
  assert.deepEqual(parse("data: whole\n\ndata: half"), ["whole"]);
});

test("the time that an event takes grows with its size, however small the pieces are", () => {
  const spent = (size) => {
    const bytes = encoder.encode(`data: ${"x".repeat(size)}\n\n`);
    const pieces = [];
    for (let at = 0; at < bytes.length; at += 1460) pieces.push(bytes.subarray(at, at + 1460));
    let length = 0;
    const take = sseParser((data) => {
      length += data.length;
    });
    const { user } = process.cpuUsage();
    for (const piece of pieces) take(piece);
    assert.equal(length, size);
    return process.cpuUsage().user - user;
  };
  const least = (size) => Math.min(...[1, 2, 3].map(() => spent(size)));
  const [small, large] = [least(2 ** 19), least(2 ** 23)];
  assert.ok(large < 64 * Math.max(small, 1000), `16 times the bytes took ${large / small} times as long`);
});
