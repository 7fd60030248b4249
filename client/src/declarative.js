/** The elements whose attributes name types of events, as a list with spaces between, `*` for all. */
const ELEMENTS = "[data-livepush-on],[data-livepush-refresh]";

/**
 * Serve the elements that name types of events: `data-livepush-on` has the event dispatched to the element too,
 * `data-livepush-refresh` has its content fetched anew. A module of its own does it. A page that has such elements loads
 * it at once; another page, with the first event after one has come.
 *
 * @param {Document} document
 * @param {import("./types.js").Load} load
 */
export const declare = (document, load) => {
  const serve = async (/** @type {any} */ { detail }) => {
    const found = document.querySelectorAll(ELEMENTS); // before the module comes, the page may get another body
    if (found[0]) (await load("attributes")).serve(found, detail);
  };
  document.addEventListener("livepush:event", serve);
  document.addEventListener("livepush:reset", serve);
  serve({});
};
