import { lost } from "./transports/ending.js";
import { later } from "./transports/later.js";
import { SUBPROTOCOL } from "./wire.js";

/** @typedef {import("./types.js").Transport} Transport */

/**
 * Make a transport ask for a token before it connects. A token that has ended is a loss: the client connects again, with
 * another token.
 *
 * @param {Transport} transport
 * @param {() => string | Promise<string>} getToken
 * @returns {Transport}
 */
const withToken = (transport, getToken) =>
  later(async () => {
    const token = await getToken();
    const headers = { authorization: `Bearer ${token}` };
    const protocols = [SUBPROTOCOL, `livepush.token.${token}`];

    return (request, receive, end, heard) => {
      /** @type {import("./types.js").End} */
      const endOrRenew = (ending) =>
        end(/^4?401$/.test(ending.reason) ? { ...ending, kind: "lost", reason: `token ${ending.reason}` } : ending);

      /** @type {import("./types.js").Receive} */
      const receiveOrRenew = (envelopes) => {
        const place = envelopes.findIndex(({ type, reason }) => type === "livepush.revoked" && reason === "token");
        receive(place < 0 ? envelopes : envelopes.slice(0, place));
        if (place >= 0) end(lost("token"));
      };

      return transport({ ...request, headers, protocols }, receiveOrRenew, endOrRenew, heard);
    };
  });

/**
 * Return options with which a client brings a token. It shares its connection with no other tab, whose user may be another.
 *
 * @param {import("./types.js").Options & Required<Pick<import("./types.js").Options, "transports">>} options
 * @returns {import("./types.js").Options}
 */
export const tokenOptions = (options) => {
  const { getToken, transports } = options;
  if (!getToken) return options;
  const names = Object.entries(transports).map(([name, transport]) => [name, withToken(transport, getToken)]);
  return { ...options, tabs: undefined, transports: Object.fromEntries(names) };
};
