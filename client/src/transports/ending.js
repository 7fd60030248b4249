/** @typedef {import("../types.js").Ending} Ending */

/** The longest that a server may send a client away, in milliseconds. */
const LONGEST = 300_000;

/**
 * Return how a connection ended that may come back.
 *
 * @param {unknown} reason
 * @param {number} [retry]  what the server asks for, in milliseconds
 * @returns {Ending}
 */
export function lost(reason, retry = 0) {
  return { kind: "lost", reason: String(reason), retry: Math.min(Math.max(retry, 0) || 0, LONGEST) };
}

/**
 * Return how a connection ended whose transport does not get through.
 *
 * @param {string} reason
 * @returns {Ending}
 */
export function blocked(reason) {
  return { kind: "next", reason, retry: 0 };
}

/**
 * Return how a status or a close code, which is 4000 and a status, ends a connection.
 *
 * 204 stops an EventSource for good, and so it does here; 501 is a server that can't stream, 404 and 426 are those
 * of proxies and of sites that have not mounted the endpoint.
 *
 * @param {number} code
 * @param {number} [retry]  what the server asks for, in milliseconds
 * @returns {Ending}
 */
export function refusal(code, retry) {
  const status = code % 4000;
  if ([204, 400, 401, 403].includes(status)) return { kind: "denied", reason: `${code}`, retry: 0 };
  const busy = [200, 408, 425, 429].includes(status) || (status >= 500 && status !== 501);
  return busy ? lost(code, retry) : blocked(`${code}`);
}
