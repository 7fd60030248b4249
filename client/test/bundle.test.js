import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const BUNDLE = new URL("../../livepush/static/livepush/livepush.js", import.meta.url);

test("the committed bundle is what the sources make", () => {
  execFileSync(process.execPath, [fileURLToPath(new URL("../build.js", import.meta.url)), "--verify"]);
});

test("the bundle is small, and free of what a strict policy for content or trusted types forbids", () => {
  const source = readFileSync(BUNDLE, "utf8");
  assert.ok(gzipSync(source, { level: 9 }).length <= 4096);
  assert.doesNotMatch(source, /innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|\bFunction\(|import\(/);
  assert.ok(source.startsWith("/*! livepush "));
  assert.ok(source.endsWith("//# sourceMappingURL=livepush.js.map\n"));
});
