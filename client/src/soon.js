/** How long to wait before asking again for an answer that lacks a new notification, in milliseconds. */
export const LATER = 500;
/** The shortest time from one beginning of the same work to the next, in milliseconds. */
const BREATH = 700;

/**
 * Make a function that has some work done soon. Work that waits already serves whoever asks meanwhile, if it comes in time.
 * It begins again when it is done, and not too often, however often it is asked for.
 *
 * @param {() => unknown} work  may return a promise
 */
export const soon = (work) => {
  /** @type {any} */
  let timer;
  let due = Number.POSITIVE_INFINITY;
  /** When it may begin again. */
  let free = 0;
  /** @type {unknown} */
  let running;
  return (/** @type {number} milliseconds */ wait) => {
    const now = performance.now();
    const at = Math.max(now + wait, free);
    if (at >= due) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(async () => {
      try {
        await running;
      } catch {}
      due = Number.POSITIVE_INFINITY;
      free = performance.now() + BREATH;
      running = work();
    }, at - now);
  };
};
