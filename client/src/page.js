import { control, createSession, sending } from "./client.js";
import { declare } from "./declarative.js";
import { awaitModule } from "./modules.js";
import { isAfter } from "./position.js";

/**
 * @typedef {import("./client.js").Client & {scan: () => void}} PageClient
 * The page's client; `scan()` subscribes to the groups of new tags, and drops the groups of tags that are gone.
 */

/**
 * Give a page its client. If it has one, let that client scan the tags again.
 *
 * @param {Window & {livepush?: PageClient}} window
 */
export const openPage = (window) => {
  if (window.livepush?.scan) return window.livepush.scan();
  const { document } = window;

  const find = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll("script[data-livepush]")]);

  /** @type {Record<string, Promise<any>>} */
  const loading = {};
  /** @type {import("./types.js").Load} */
  const load = (name) => (loading[name] ??= awaitModule(() => find().pop()?.dataset[name]));
  const session = createSession({
    url: "/livepush/",
    ...find()[0]?.dataset,
    groups: [],
    target: document,
    load,
  });
  const client = /** @type {PageClient} */ (control(session));
  /** The tags that were read, each with its groups and its text then. @type {Map<HTMLElement, [string[], string]>} */
  const tags = new Map();

  /** @param {HTMLElement} tag */
  const textOf = (tag) => JSON.stringify(tag.dataset);

  /** @param {HTMLElement} tag */
  const read = (tag) => {
    /** @type {string[]} */
    const groups = [];
    try {
      groups.push(...JSON.parse(tag.dataset.groups ?? "[]"));
    } catch (error) {
      console.error("livepush: data-groups", tag, error);
    }
    tags.set(tag, [groups, textOf(tag)]);
    if (tag.dataset.sends === "") sending(session); // so that the first message does not need the network
    return groups;
  };

  /**
   * Scan if a tag that was read has gone: there may be as many as before, with a copy that a library has kept. New ones
   * scan by themselves, and a page may fetch something whenever the inbox has scanned.
   */
  const tidy = () => [...tags.keys()].every((tag) => find().includes(tag)) || client.scan();

  const start = () => client.state === "idle" && client.start();

  const serve = declare(document, load);

  client.scan = () => {
    const found = find();
    const gone = [];
    for (const [tag, [groups, text]] of tags) {
      if (found.includes(tag) && text === textOf(tag)) continue;
      tags.delete(tag);
      gone.push(...groups);
    }
    const kept = [...tags.values()].flat(2); // and the texts, which are no groups
    // A body that was swapped is owed everything after its own tag's position: its groups begin anew.
    client.remove(gone.filter((group) => !kept.includes(group)));
    serve({});
    for (const tag of found) if (!tags.has(tag)) client.add(read(tag), tag.dataset.position);
    if (document.readyState === "complete") return start();
    // The page's other deferred scripts come first, so that their listeners hear everything. Whether DOMContentLoaded
    // is over can't be seen before the page is complete, hence both events.
    window.addEventListener("DOMContentLoaded", start);
    window.addEventListener("load", start);
  };

  /** Write into the tags how far their groups have come, for a library that puts a copy of the body aside. */
  const keep = () => {
    for (const [tag, [groups, text]] of tags) {
      if (
        !session.owed &&
        client.position &&
        isAfter(client.position, tag.dataset.position) &&
        groups.every((group) => session.covered.has(group)) &&
        text === textOf(tag) // else a library has changed it, and the next scan reads it
      ) {
        tag.dataset.position = client.position;
        tags.set(tag, [groups, textOf(tag)]);
      }
    }
  };
  document.addEventListener("livepush:event", keep);

  /** @type {any} */ (client).stream = /** @type {any} */ (window.livepush)?.stream; // its script may have been there first
  window.livepush = client;
  document.addEventListener("livepush:state", () => {
    document.documentElement.dataset.livepushState = client.state;
  });
  client.scan();
  try {
    if (localStorage.livepush) sending(session); // messages that an earlier page has left
  } catch {}

  // Follow the page when it is hidden or shown, frozen or resumed, online again, or gets a new body.
  const resume = () => client.state === "paused" && client.start();
  /** @type {Record<string, any>} */
  const heed = {
    online: () => client.wake(true),
    visibilitychange: () => document.hidden || client.wake(),
    prerenderingchange: () => client.scan(), // the inbox puts another in its place
    "turbo:load": () => client.scan(),
    "turbo:frame-load": tidy,
    "htmx:afterSettle": tidy,
    "htmx:after:swap": tidy,
    "turbo:before-cache": keep,
    pagehide: client.pause,
    freeze: client.pause,
    pageshow: resume,
    resume,
  };
  for (const event in heed) window.addEventListener(event, heed[event], true);
};
