/** @typedef {import("./types.js").Envelope} Envelope */

import { announce } from "./events.js";

/** The elements whose content is fetched anew. */
const REGIONS = "[data-livepush-refresh]";

/**
 * Serve the elements that name types of events, as a list with spaces between, `*` for all:
 *
 * - `data-livepush-on`: the event is dispatched to the element too.
 * - `data-livepush-refresh`: the element's content is fetched anew. A module of its own does it. A page that has such
 *   elements loads it at once; another page, with the first event for one that has come later.
 *
 * @param {Document} document
 * @param {{on: (type: string, listener: (data: unknown, envelope: Envelope) => void) => unknown}} client
 * @param {() => Promise<typeof import("./refresh.js")>} load
 */
export const declare = (document, client, load) => {
  /** @type {ReturnType<typeof load> | undefined} */
  let loading;

  /** Return the module if there are such elements. @param {string} selector */
  const prepare = (selector) => {
    if (document.querySelectorAll(selector)[0]) loading ??= load();
    return loading;
  };

  /** @param {string} selector */
  const refresh = async (selector) => (await prepare(selector))?.refresh(selector);

  client.on("*", (_data, envelope) => {
    for (const element of document.querySelectorAll(naming("on", envelope))) announce(element, envelope);
    refresh(naming("refresh", envelope));
  });
  document.addEventListener("livepush:reset", () => refresh(REGIONS));
  prepare(REGIONS);
};

/**
 * Return a selector of the elements that name an event's type.
 *
 * @param {string} attribute
 * @param {Envelope} envelope
 */
const naming = (attribute, { type }) => {
  const name = `data-livepush-${attribute}`;
  return `[${name}~="*"],[${name}~="${CSS.escape(type)}"]`;
};
