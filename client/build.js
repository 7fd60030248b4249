/** Builds the client into the app's static files; with --verify, says instead whether what is there is current. */

import { readFileSync, writeFileSync } from "node:fs";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = fileURLToPath(new URL("../", import.meta.url));
const { version, license } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));

const { outputFiles } = await build({
  absWorkingDir: root,
  banner: { js: `/*! livepush ${version} | ${license} */` },
  bundle: true,
  entryPoints: ["client/src/main.js"],
  format: "iife",
  legalComments: "none",
  minify: true,
  outfile: "livepush/static/livepush/livepush.js",
  sourcemap: true,
  target: "es2022",
  write: false,
});

/** @param {string} path */
const current = (path) => {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
};

for (const { path, contents } of outputFiles) {
  const name = relative(root, path);
  if (!process.argv.includes("--verify")) {
    writeFileSync(path, contents);
    console.log(`${name}: ${contents.length} bytes, ${gzipSync(contents, { level: 9 }).length} gzipped`);
  } else if (!current(path).equals(contents)) {
    console.error(`${name} is not what client/src makes: run npm run build and commit the result.`);
    process.exitCode = 1;
  }
}
