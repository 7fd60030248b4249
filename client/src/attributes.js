/** @typedef {import("./types.js").Envelope} Envelope */

import { dispatch } from "./events.js";

/**
 * How long to wait at least for further events before a region is fetched, and at most after a failure, in milliseconds.
 * A random wait of up to four times as long is added.
 */
const GATHER = 100;
const LONGEST = 10_000;
/** How long an answer may take, in milliseconds. */
const LIMIT = 30_000;

/** The elements that are waited for or fetched. @type {Set<HTMLElement>} */
const busy = new Set();
/** The number of events and resets so far. */
let count = 0;
/** The number of the last one for each selector of the elements that it made old. @type {Record<string, any>} */
const old = {};

/**
 * Serve the elements that name an event's type; after a reset, which has no type, all that show what may be old.
 *
 * @param {Iterable<HTMLElement>} elements  those that the page had when the event came: it may have another body by now
 * @param {Envelope} [event]  none if the page may have another body, perhaps a copy that was made while a region was old
 */
export const serve = (elements, event) => {
  const there = [...elements].filter((element) => element.isConnected);
  if (!event) return renew(there, "[data-livepush-old]");
  if (!event.type) return refresh(there, "[data-livepush-refresh]");
  for (const element of there) {
    if (!element.matches(naming("on", event))) continue;
    dispatch(element, `event:${event.type}`, event);
    dispatch(element, "event", event);
  }
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
  old[selector] = ++count;
  renew(there, selector);
};

/** @param {HTMLElement[]} regions @param {string} selector  of those that are to be fetched */
const renew = (regions, selector) => {
  for (const region of regions) if (region.matches(selector) && !busy.has(region)) wait(region);
};

/** @param {HTMLElement} region @param {number} [pause] */
const wait = (region, pause = GATHER) => {
  region.dataset.livepushOld = ""; // a copy of the page that a library makes now has an old region
  busy.add(region);
  setTimeout(
    () => {
      if (document.hidden) {
        document.addEventListener("visibilitychange", () => wait(region, pause), { once: true }); // until somebody looks
        return;
      }
      busy.delete(region);
      if (region.isConnected) reload(region, pause);
    },
    pause * (1 + 4 * Math.random()),
  );
};

/**
 * Fetch a region's content: through htmx if the element has `hx-get`, else as a document. Unlike text, a document
 * needs no permission from Trusted Types, and it runs no script.
 *
 * @param {HTMLElement} region
 * @param {number} pause  how long was waited for it
 */
const reload = (region, pause) => {
  const { htmx } = /** @type {any} */ (window);
  if (htmx && region.matches("[hx-get]")) {
    delete region.dataset.livepushOld;
    return htmx.trigger(region, "livepush:refresh");
  }
  const url = new URL(region.dataset.livepushUrl ?? location.href, document.baseURI);
  url.hash = "";
  if (url.origin !== location.origin) return; // a user may have written the attribute
  const request = new XMLHttpRequest();
  const before = count;
  request.open("GET", url);
  request.setRequestHeader("X-Livepush-Refresh", encodeURI(region.id)); // a header holds Latin-1 alone
  request.setRequestHeader("If-None-Match", '""'); // past the browser's cache
  request.responseType = "document";
  request.timeout = LIMIT;
  request.onloadend = () => {
    const { status, responseURL, response } = request;
    if (!status || status === 429 || status > 499) return wait(region, Math.min(4 * pause, LONGEST));
    busy.delete(region);
    delete region.dataset.livepushOld;
    const isIt = status === 200 && responseURL === url.href; // not what it was sent to, such as a login
    const source = isIt && (response?.getElementById(region.id) ?? response?.body);
    if (source) {
      region.replaceChildren(...source.childNodes);
      htmx?.process?.(region);
      region.dispatchEvent(new CustomEvent("livepush:refreshed", { bubbles: true }));
    }
    // The answer may be from before: it may also have brought regions that the page did not have when the events came.
    for (const selector in old) {
      if (old[selector] > before)
        renew([region, .../** @type {any} */ (region.querySelectorAll(selector))], selector);
    }
  };
  request.send();
  busy.add(region); // only now: what throws until here must not keep it from being fetched later
};
