/** @typedef {import("./types.js").Envelope} Envelope */

import { announce } from "./events.js";

/** How long to wait for further events before a region is fetched, and the longest random addition, in milliseconds. */
const GATHER = 100;
const SPREAD = 400;

/** The elements that wait to be fetched. @type {Set<HTMLElement>} */
const stale = new Set();

/**
 * Serve the elements that name an event's type; after a reset, which has no type, all that show what may be old.
 *
 * @param {Iterable<HTMLElement>} elements  those that the page had when the event came: it may have another body by now
 * @param {Envelope} [event]  none if the page has such elements, and nothing has come yet
 */
export const serve = (elements, event) => {
  if (!event) return;
  const there = [...elements].filter((element) => element.isConnected);
  if (!event.type) return refresh(there, "[data-livepush-refresh]");
  for (const element of there) if (element.matches(naming("on", event))) announce(element, event);
  refresh(there, naming("refresh", event));
};

/**
 * Return a selector of the elements that name an event's type.
 *
 * @param {string} attribute
 * @param {Envelope} event
 */
const naming = (attribute, { type }) => {
  const name = `data-livepush-${attribute}`;
  return `[${name}~="*"],[${name}~="${CSS.escape(type)}"]`;
};

/**
 * Fetch the content of those elements anew that match, soon: from their `data-livepush-url` or the page's own address, if
 * that is an address of the page's own host. The new content is that of the element with the same id there, else of the
 * whole body.
 *
 * @param {HTMLElement[]} there
 * @param {string} selector
 */
const refresh = (there, selector) => {
  for (const region of there) if (region.matches(selector) && !stale.has(region)) wait(region);
};

/** @param {HTMLElement} region */
const wait = (region) => {
  stale.add(region);
  setTimeout(
    () => {
      if (document.hidden) {
        document.addEventListener("visibilitychange", () => wait(region), { once: true }); // until somebody looks
        return;
      }
      stale.delete(region);
      if (region.isConnected) reload(region);
    },
    GATHER + SPREAD * Math.random(),
  );
};

/**
 * Fetch a region's content: through htmx if the element has `hx-get`, else as a document. Unlike text, a document
 * needs no permission from Trusted Types, and it runs no script.
 *
 * @param {HTMLElement} region
 */
const reload = (region) => {
  const { htmx } = /** @type {{htmx?: {trigger: (element: Element, event: string) => void}}} */ (
    /** @type {unknown} */ (window)
  );
  if (htmx && region.matches("[hx-get]")) return htmx.trigger(region, "livepush:refresh");
  const request = new XMLHttpRequest();
  request.open("GET", region.dataset.livepushUrl ?? location.href);
  request.setRequestHeader("X-Livepush-Refresh", region.id);
  request.responseType = "document";
  request.onload = () => {
    const isOwn = request.responseURL.startsWith(`${location.origin}/`); // a user may have written the attribute
    const found = request.status === 200 && isOwn && request.response;
    const source = found && (found.getElementById(region.id) ?? found.body);
    if (!source) return;
    region.replaceChildren(...source.childNodes);
    region.dispatchEvent(new CustomEvent("livepush:refreshed", { bubbles: true }));
  };
  request.send();
};
