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

/**
 * Return the envelope of a binary message: a line of JSON, and then the data.
 *
 * @param {ArrayBuffer} buffer
 * @returns {import("./types.js").Envelope}
 */
export const parseBinary = (buffer) => {
  const bytes = new Uint8Array(buffer);
  const end = bytes.indexOf(10);
  return { ...JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))), data: bytes.subarray(end + 1) };
};
