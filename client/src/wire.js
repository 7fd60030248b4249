export const HELLO = "livepush.hello";
/** Brings the state of the leader's connection. It does not come over the wire. */
export const LEADER = "livepush.leader";
export const SUBPROTOCOL = "livepush.v1";

/**
 * Return the address of an endpoint.
 *
 * @param {import("./types.js").Request} request
 * @param {string} endpoint  with its query besides groups and position, for example `poll/?wait=25`
 */
export const address = ({ url, groups, since }, endpoint) => {
  const address = new URL(url + endpoint, location.href);
  for (const group of groups) address.searchParams.append("group", group);
  if (since) address.searchParams.append("since", since);
  return address;
};

/**
 * Return the envelopes of one frame: a WebSocket's text, or the data of a Server-Sent Event.
 *
 * @param {string} text
 * @returns {import("./types.js").Envelope[]}
 */
export const parseFrame = (text) => {
  return [JSON.parse(text)].flat();
};
