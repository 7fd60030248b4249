/** The elements whose attributes name types of events, as a list with spaces between, `*` for all. */
const ELEMENTS = "[data-livepush-on],[data-livepush-refresh]";

/**
 * Serve the elements that name types of events: `data-livepush-on` has the event dispatched to the element too,
 * `data-livepush-refresh` has its content fetched anew. A module of its own does it. It comes with the first event after
 * such an element has come.
 *
 * @param {Document} document
 * @param {import("./types.js").Load} load
 * @returns {(event: any) => unknown}  to be called with `{}` when the page may have such elements: it loads the module then
 */
export const declare = (document, load) => {
  const serve = async (/** @type {any} */ { detail }) => {
    const found = document.querySelectorAll(ELEMENTS); // before the module comes, the page may get another body
    if (found[0]) (await load("attributes")).serve(found, detail);
  };
  document.addEventListener("livepush:event", serve);
  document.addEventListener("livepush:reset", serve);
  return serve;
};
