import { createClient } from "./client.js";
import { declare } from "./declarative.js";

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

  /** @returns {ArrayLike<HTMLElement> & Iterable<HTMLElement>} */
  const tags = () => document.querySelectorAll("script[data-livepush]");

  const client = /** @type {PageClient} */ (
    createClient({ url: "/livepush/", ...tags()[0]?.dataset, groups: [], target: document })
  );
  /** The groups of the tags. @type {string[]} */
  let tagged = [];

  const start = () => client.state === "idle" && client.start();

  client.scan = () => {
    const before = tagged;
    tagged = [];
    for (const { dataset } of tags()) {
      const groups = JSON.parse(dataset.groups ?? "[]");
      tagged.push(...groups);
      client.add(groups, dataset.position);
    }
    client.remove(before.filter((group) => !tagged.includes(group)));
    if (document.readyState === "complete") return start();
    // The page's other deferred scripts come first, so that their listeners hear everything. Whether DOMContentLoaded
    // is over can't be seen before the page is complete, hence both events.
    for (const event of ["DOMContentLoaded", "load"]) window.addEventListener(event, start);
  };

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
