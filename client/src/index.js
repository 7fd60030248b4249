/** The entry point for bundlers. */

import { createClient } from "./client.js";
import { createSender } from "./sending/main.js";
import { tokenOptions } from "./token.js";

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
      // biome-ignore lint/correctness/noConstructorReturn: the client is a plain object
      return createClient({
        ...tokenOptions(options),
        load: async () => ({
          createSender: (link) => createSender(Object.assign(link, { getToken: options.getToken })),
        }),
      });
    }
  }
);
