/** Builds the client into the app's static files; with --verify, says instead whether what is there is current. */

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { minify } from "terser";

const root = fileURLToPath(new URL("../", import.meta.url));
const STATIC = "livepush/static/livepush/";
const { version, license } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));

/** Return what a file of the project holds. @param {string} name */
function current(name) {
  try {
    return readFileSync(`${root}${name}`, "utf8");
  } catch {
    return "";
  }
}

/**
 * Properties of the client's own objects that get short names: neither pages nor servers nor other tabs know them, and
 * none is a word of the DOM.
 */
const INTERNAL = (
  "abandon asks attempt begin better blocked conclude covered follow followersGroups follows gathering " +
  "grants grown heard hedged heed hiding inUse isVisible ladder leave lookOver notBefore owed patient peers probes " +
  "rank ready received refusals shown silence separate stateName takePart tell timer told upcoming usurp via wanted " +
  "welcome whenEnded worked link load sender speak " +
  "isStarted " +
  // of the inbox's elements
  "inherit isInert isLate isOld isOpen isRestored lose panel place prepare raise seconds stay turn work " +
  // of a list
  "begun born extra isOwn isStart observer released shownUrl started starting upto"
).split(" ");

/** @type {Record<string, string>} */
const outputs = {};
/**
 * The short names: the same in every script, because one hands objects to another, and in every release, because a page
 * that is open over one loads its scripts of the next where their addresses do not tell versions apart.
 */
const NAMES = "client/short-names.json";
let mangleCache = JSON.parse(current(NAMES) || "{}");
for (const [name, entry, format] of /** @type {const} */ ([
  ["livepush.js", "main.js", "iife"],
  ["livepush.mjs", "index.js", "esm"],
  ["livepush-send.js", "sending/main.js", "esm"],
  ["livepush-attributes.js", "attributes.js", "esm"],
  ["livepush-fallback.js", "fallback.js", "esm"],
  ["inbox.js", "inbox/main.js", "iife"],
  ["livepush-list.js", "list/main.js", "esm"],
  ["livepush-streams.js", "streams/main.js", "iife"],
  ["livepush-presence.js", "presence/main.js", "iife"],
  ["livepush-presence.mjs", "presence/index.js", "esm"],
])) {
  const bundle = `${STATIC}${name}`;
  const built = await build({
    absWorkingDir: root,
    banner: { js: `/*! livepush ${version} | ${license} */` },
    bundle: true,
    entryPoints: [`client/src/${entry}`],
    format,
    legalComments: "none",
    ...(/presence|streams/.test(name) ? {} : { mangleCache, mangleProps: new RegExp(`^(${INTERNAL.join("|")})$`) }),
    minifySyntax: true, // and terser names and packs: two rounds of names compress worse
    outfile: bundle,
    sourcemap: "external",
    target: ["chrome112", "firefox113", "safari16.4"],
    tsconfigRaw: {},
    write: false,
  });
  mangleCache = built.mangleCache ?? mangleCache;
  const [map, script] = built.outputFiles.map(({ text }) => text);
  const smaller = await minify(
    { [`${root}${bundle}`]: /** @type {string} */ (script) },
    {
      compress: {
        ecma: 2020,
        inline: 1,
        lhs_constants: false,
        passes: 5,
        pure_getters: true,
        unsafe: true,
        unsafe_arrows: true,
      },
      format: { comments: /^!/, ecma: 2020 },
      module: format === "esm",
      sourceMap: { content: map, filename: name, url: `${name}.map` },
      toplevel: true,
    },
  );
  outputs[bundle] = `${smaller.code}\n`;
  outputs[`${bundle}.map`] = `${smaller.map}\n`;
}
outputs[NAMES] = `${JSON.stringify(mangleCache, null, 2)}\n`;

for (const [name, contents] of Object.entries(outputs)) {
  if (!process.argv.includes("--verify")) {
    writeFileSync(`${root}${name}`, contents);
    console.log(`${name}: ${contents.length} bytes, ${gzipSync(contents, { level: 9 }).length} gzipped`);
  } else if (current(name) !== contents) {
    console.error(`${name} is not what client/src makes: run npm run build and commit the result.`);
    process.exitCode = 1;
  }
}
