/**
 * How to elect a leader among the tabs of a name. One tab leads, except for a moment after a leader is replaced.
 *
 * @typedef {(name: string, turn: (leads: boolean) => void, fail: () => void) => Candidate} Stand
 * `turn` is called when this tab begins to lead, and when another tab has replaced it; `fail` if it can't stand: the
 * browser refuses, for example because the user has blocked the site's data.
 *
 * @typedef {{usurp: () => void, leave: () => void}} Candidate
 */

/** With Web Locks, the browser reports at once that a leader has gone, even after a crash. @type {Stand} */
export const byLock = (name, turn, fail) => {
  const { locks } = navigator;
  const standing = new AbortController();
  const { signal } = standing;

  /** @param {LockOptions} options */
  const request = (options) => {
    let held = false;
    locks
      .request(name, options, () => {
        held = true;
        return (
          signal.aborted ||
          new Promise((resolve) => {
            signal.onabort = resolve;
            turn(true);
          })
        );
      })
      .catch(() => {
        if (signal.aborted) return;
        if (!held) return fail();
        turn(false); // another tab stole it
        if (!options.steal) request(options); // a tab that stole the lock is still in the queue
      });
  };

  request({ signal });
  return {
    usurp: () => request({ steal: true }),
    leave: () => standing.abort(),
  };
};
