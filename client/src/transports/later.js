/** @typedef {import("../types.js").Transport} Transport */

import { lost } from "./ending.js";

/**
 * Make a transport of one that comes later. If it does not come, the connection is lost.
 *
 * @param {() => Promise<Transport>} get
 * @returns {Transport}
 */
export const later = (get) => {
  return (request, receive, end, heard) => {
    let isClosed = false;
    /** @type {import("../types.js").Shut | undefined} */
    let shut;
    const close = () => {
      isClosed = true;
      shut?.();
    };
    close.speak = (/** @type {string} */ text) => shut?.speak?.(text);
    get()
      .then((transport) => {
        if (!isClosed) shut = transport(request, receive, end, heard);
      })
      .catch((error) => end(lost(error)));
    return close;
  };
};
