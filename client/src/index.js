/** The entry point for bundlers. */

import { createClient } from "./client.js";
import * as fallback from "./fallback.js";
import { createSender } from "./sending/main.js";
import { tokenOptions } from "./token.js";
import { createTransports } from "./transports/index.js";

export { State } from "./types.js";

/**
 * A client, made with `new`.
 *
 * @type {new (options: import("./types.js").Options) => import("./client.js").Client}
 */
export const LivepushClient = /** @type {any} */ (
  class {
    /** @param {import("./types.js").Options} options */
    constructor(options) {
      const { getToken } = options;
      /** @type {Record<string, any>} */
      const modules = {
        fallback,
        send: {
          // the project has made up the text of `tabs`: it says whose a kept message is, but is no login of the server's
          createSender: (/** @type {any} */ link) =>
            createSender(Object.assign(link, { getToken, owner: options.tabs, tabs: undefined })),
        },
      };
      /** @type {import("./types.js").Load} */
      const load = async (name) => modules[name];
      const client = createClient({ ...tokenOptions({ transports: createTransports(load), ...options }), load });
      /** @type {any} */
      const { document } = globalThis;
      // a page that was loaded ahead is visited at last: connect, if the client was started
      if (document?.prerendering) {
        document.addEventListener("prerenderingchange", () => client.add([]), { once: true });
      }
      // biome-ignore lint/correctness/noConstructorReturn: the client is a plain object
      return client;
    }
  }
);
