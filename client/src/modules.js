/** How long to wait before a module is asked for again, in milliseconds. */
const PAUSE = 1000;

/** How many modules were asked for. */
let count = 0;

/**
 * Load a module. The address is another one each time, because a browser may remember that an address failed.
 *
 * @param {string | undefined} address
 * @returns {Promise<any>}
 */
export const fetchModule = (address) => import(`${address}#${count++}`);

/**
 * Load a module, over and over until it comes.
 *
 * @param {string | undefined} address
 * @returns {Promise<any>}
 */
export const awaitModule = (address) =>
  fetchModule(address).catch(() => new Promise((done) => setTimeout(() => done(awaitModule(address)), PAUSE)));
