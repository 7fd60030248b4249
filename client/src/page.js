import { createClient } from "./client.js";
import { declare } from "./declarative.js";
import { compare } from "./position.js";

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

  /** @returns {Iterable<HTMLElement> & ArrayLike<HTMLElement>} */
  const find = () => document.querySelectorAll("script[data-livepush]");

  /** The groups that still wait for older events. @type {Map<string, string>} */
  const owed = new Map();
  const client = /** @type {PageClient} */ (
    createClient({ url: "/livepush/", ...find()[0]?.dataset, groups: [], target: document, owed })
  );
  /** The tags that were read, each with its groups and its text then. @type {Map<HTMLElement, [string[], string]>} */
  let tags = new Map();

  /** @param {HTMLElement} tag */
  const textOf = ({ dataset: { groups = "[]", position } }) => `${groups} ${position}`;

  /** @param {HTMLElement} tag */
  const read = (tag) => tags.set(tag, [JSON.parse(tag.dataset.groups ?? "[]"), textOf(tag)]);

  const start = () => client.state === "idle" && client.start();

  client.scan = () => {
    const before = tags;
    tags = new Map();
    const kept = new Set();
    const fresh = [];
    for (const tag of find()) {
      const known = before.get(tag);
      if (known?.[1] !== textOf(tag)) fresh.push(tag);
      else {
        tags.set(tag, known);
        for (const group of known[0]) kept.add(group);
      }
    }
    // A body that was swapped is owed everything behind its own tag's position: its groups begin anew.
    for (const [groups] of before.values()) client.remove(groups.filter((group) => !kept.has(group)));
    for (const tag of fresh) client.add(read(tag).get(tag)?.[0] ?? [], tag.dataset.position);
    if (document.readyState === "complete") return start();
    // The page's other deferred scripts come first, so that their listeners hear everything. Whether DOMContentLoaded
    // is over can't be seen before the page is complete, hence both events.
    for (const event of ["DOMContentLoaded", "load"]) window.addEventListener(event, start);
  };

  /**
   * Write into the tags how far their groups have come, for a library that puts a copy of the body aside.
   *
   * @param {any} event
   */
  const keep = ({ detail: { id, group, groups = [group] } }) => {
    for (const [tag, [mine]] of id ? tags : []) {
      if (!groups.some((/** @type {string} */ each) => mine.includes(each))) continue;
      const { position } = client;
      if (mine.some((each) => owed.has(each)) || !position || compare(position, tag.dataset.position ?? "") < 0)
        continue;
      tag.dataset.position = position;
      read(tag);
    }
  };
  document.addEventListener("livepush:event", keep);

  window.livepush = client;
  document.addEventListener("livepush:state", () => {
    document.documentElement.dataset.livepushState = client.state;
  });
  declare(document, client);
  client.scan();

  // Follow the page when it is hidden or shown, frozen or resumed, online again, or gets a new body.
  const resume = () => client.state === "paused" && client.start();
  /** @type {Record<string, any>} */
  const heed = {
    online: () => client.wake(true),
    visibilitychange: () => document.hidden || client.wake(),
    pagehide: client.pause,
    freeze: client.pause,
    pageshow: resume,
    resume,
    "turbo:load": client.scan,
  };
  for (const event in heed) window.addEventListener(event, heed[event], true);
};
