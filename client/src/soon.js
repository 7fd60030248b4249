/** How long to wait before asking again for an answer that lacks a new notification, in milliseconds. */
export const LATER = 500;

/**
 * Make a function that has some work done soon. Work that waits already serves whoever asks meanwhile, if it comes in time.
 *
 * @param {() => void} work
 */
export const soon = (work) => {
  /** @type {any} */
  let timer;
  let due = Number.POSITIVE_INFINITY;
  return (/** @type {number} milliseconds */ wait) => {
    const at = performance.now() + wait;
    if (at >= due) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(() => {
      due = Number.POSITIVE_INFINITY;
      work();
    }, wait);
  };
};
