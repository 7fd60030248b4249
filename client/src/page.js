import { LivepushClient } from "./client.js";

/**
 * @typedef {LivepushClient & {scan: () => void}} PageClient
 * The page's client; `scan()` takes up tags that have come since.
 */

/**
 * Give a page its client, or have the one there is take up new tags.
 *
 * @param {Window & {livepush?: PageClient}} window
 */
export function openPage(window) {
  if (window.livepush?.scan) return window.livepush.scan();
  const { document } = window;
  const client = new LivepushClient({ url: tags(document)[0]?.dataset.url ?? "/livepush/", target: document });
  const scan = () => {
    for (const tag of tags(document)) take(tag, client);
    afterScripts(window, () => {
      if (client.state === "idle") client.start();
    });
  };
  window.livepush = Object.assign(client, { scan });
  watch(window, client);
  scan();
}

/**
 * @param {Document} document
 * @returns {HTMLElement[]}
 */
function tags(document) {
  return [...document.querySelectorAll("script[data-livepush]")].map((tag) => /** @type {HTMLElement} */ (tag));
}

/**
 * Subscribe to what a tag names; what is there already stays as it is. Tags add up: all of their groups, from the
 * lowest of their positions.
 *
 * @param {HTMLElement} tag
 * @param {LivepushClient} client
 */
function take({ dataset: { groups = "[]", position } }, client) {
  client.add(JSON.parse(groups), position || null);
}

/**
 * Wait for the page's other deferred scripts, so that their listeners hear everything.
 *
 * Whether DOMContentLoaded is over can't be seen before the page is complete, hence both events.
 *
 * @param {Window} window
 * @param {() => void} task  may be called twice
 */
function afterScripts(window, task) {
  if (window.document.readyState === "complete") return task();
  for (const event of ["DOMContentLoaded", "load"]) window.addEventListener(event, task, { once: true });
}

/**
 * Follow the page: put aside and shown again, off and on the network.
 *
 * @param {Window} window
 * @param {LivepushClient} client
 */
function watch(window, client) {
  for (const event of ["online", "visibilitychange"]) window.addEventListener(event, () => client.wake());
  window.addEventListener("pagehide", () => client.pause());
  window.addEventListener("pageshow", () => {
    if (client.state === "paused") client.start();
  });
}
