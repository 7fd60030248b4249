import { lost, refusal } from "./ending.js";

/**
 * Run an exchange over HTTP; return a function that aborts it. An error that it throws becomes its ending.
 *
 * @param {import("../types.js").Request} request
 * @param {import("../types.js").End} end
 * @param {(get: (url: URL) => Promise<Response>, controller: AbortController) => Promise<unknown>} exchange
 */
export const over = (request, end, exchange) => {
  const controller = new AbortController();

  /** @param {URL} url */
  const get = async (url) => {
    const response = await fetch(url, {
      cache: "no-store",
      signal: controller.signal,
      headers: /** @type {any} */ (request.headers),
    });
    if (response.status === 200) return response;
    const after = /** @type {any} */ (response.headers.get("retry-after")); // seconds, or a date (RFC 9110, section 10.2.3)
    throw refusal(response.status, after * 1000 || Date.parse(after) - Date.now());
  };

  exchange(get, controller).catch((error) => end(error.kind ? error : lost(error)));
  return () => controller.abort();
};
