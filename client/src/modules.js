/** How long to wait at first before a module is asked for again, and at most, in milliseconds. */
const PAUSE = 1000;
const LONG = 30_000;

/** How many modules were asked for. */
let count = 0;

/**
 * Load a module. The address is another one each time, because a browser may remember that an address failed.
 *
 * @param {() => string | undefined} address  asked for each time: a new body of the page may name another one
 * @returns {Promise<any>}
 */
export const fetchModule = (address) =>
  // biome-ignore lint/style/useTemplate: gzip makes less of it
  import(/** @type {any} */ (new URL(address() + "#" + count++, location.href)));

/**
 * Load a module, over and over until it comes. A release may have removed it.
 *
 * @param {() => string | undefined} address
 * @param {number} [pause]
 * @returns {Promise<any>}
 */
export const awaitModule = (address, pause = PAUSE) =>
  fetchModule(address).catch(
    () => new Promise((done) => setTimeout(() => done(awaitModule(address, Math.min(2 * pause, LONG))), pause)),
  );
