/**
 * Return the element with the inbox's state: of the page's newest body, if it has several.
 *
 * @returns {any}
 */
export const findTag = () => [...document.querySelectorAll("script[data-inbox]")].pop();
