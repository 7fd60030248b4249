import { lost, refusal } from "./ending.js";

/**
 * Carry on an exchange over HTTP; return what aborts it. What it throws is how it ended.
 *
 * @param {import("../types.js").End} end
 * @param {(get: (url: URL) => Promise<Response>, controller: AbortController) => Promise<unknown>} exchange
 */
export const over = (end, exchange) => {
  const controller = new AbortController();

  /** @param {URL} url */
  const get = async (url) => {
    const response = await fetch(url, { cache: "no-store", signal: controller.signal });
    if (response.status === 200) return response;
    const after = /** @type {any} */ (response.headers.get("retry-after")); // seconds, or a date (RFC 9110, section 10.2.3)
    throw refusal(response.status, after * 1000 || Date.parse(after) - Date.now());
  };

  exchange(get, controller).catch((error) => end(error.kind ? error : lost(error)));
  return () => controller.abort();
};
