/** The shortest time from one beginning of the same work to the next, in milliseconds. */
const BREATH = 700;

/**
 * Make a function that has some work done soon. Work that waits already serves whoever asks meanwhile, if it comes in time.
 * However often it is asked for, it does not begin too often. It may begin while an answer is still awaited, which may
 * never come.
 *
 * @param {() => void} work
 */
export const soon = (work) => {
  /** @type {any} */
  let timer;
  let due = Number.POSITIVE_INFINITY;
  /** When it may begin again. */
  let free = 0;
  return (/** @type {number} milliseconds */ wait) => {
    const now = performance.now();
    const at = Math.max(now + wait, free);
    if (at >= due) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(() => {
      due = Number.POSITIVE_INFINITY;
      free = performance.now() + BREATH;
      work();
    }, at - now);
  };
};
