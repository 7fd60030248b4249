/** @typedef {import("./types.js").Envelope} Envelope */

/** What begins the type of everything that livepush itself says. */
export const OWN = "livepush.";
export const HELLO = "livepush.hello";
export const SUBPROTOCOL = "livepush.v1";

/**
 * Return the address of an endpoint.
 *
 * @param {import("./types.js").Request} request
 * @param {string | undefined} base
 * @param {string} endpoint  for example `sse/`
 * @param {string} [query]  what it asks for besides groups and position
 */
export function address({ url, groups, since }, base, endpoint, query) {
  const address = new URL(url, base);
  const fields = new URLSearchParams(query);
  for (const group of groups) fields.append("group", group);
  if (since !== null) fields.append("since", since);
  address.pathname += endpoint;
  address.search = `${fields}`;
  return address;
}

/**
 * Return the envelopes of one frame: a WebSocket's text, or the data of a Server-Sent Event.
 *
 * @param {string} text
 * @returns {Envelope[]}
 */
export function parseFrame(text) {
  return [JSON.parse(text)].flat();
}

/**
 * Return a poll's answer.
 *
 * @param {string} text
 * @returns {{events: Envelope[], position: string, reset: boolean, refused: string[], reason?: string}}
 */
export function parseAnswer(text) {
  return JSON.parse(text);
}
