/** @typedef {import("../types.js").Environment} Environment */

import { lost, refusal } from "./ending.js";

/**
 * Carry on an exchange over HTTP; return what aborts it. What it throws is how it ended.
 *
 * @param {Environment} io
 * @param {import("../types.js").Sink} sink
 * @param {(get: (url: URL) => Promise<Response>, controller: AbortController) => Promise<unknown>} exchange
 */
export function over(io, sink, exchange) {
  const controller = new AbortController();

  /** @param {URL} url */
  const get = async (url) => {
    const response = await io.fetch(url, { cache: "no-store", signal: controller.signal });
    if (response.status === 200) return response;
    throw refusal(response.status, retryAfter(response, io.now()));
  };

  exchange(get, controller).catch((error) => sink.end(error.kind ? error : lost(error)));
  return () => controller.abort();
}

/**
 * Return the milliseconds of a Retry-After header (RFC 9110, section 10.2.3): seconds, or a date.
 *
 * @param {Response} response
 * @param {number} now
 */
function retryAfter({ headers }, now) {
  const text = headers.get("retry-after") ?? "0";
  return /\D/.test(text) ? Date.parse(text) - now : Number(text) * 1000;
}
