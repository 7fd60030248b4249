/** @typedef {import("../types.js").Load} Load */

import { later } from "./later.js";
import { sse } from "./sse.js";

/**
 * Return every transport, in order of preference. Few pages need another one than the first, so a module brings those.
 *
 * @param {Load} load
 * @returns {Record<string, import("../types.js").Transport>}
 */
export const createTransports = (load) => {
  const from = (/** @type {string} */ name) => later(async () => (await load("fallback"))[name]);
  return { sse, websocket: from("websocket"), longpoll: from("longpoll"), poll: from("poll") };
};
