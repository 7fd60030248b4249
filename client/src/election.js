/**
 * Two ways to elect a leader among the tabs of a name. One tab leads, except for a moment after a leader is replaced.
 *
 * @typedef {(name: string, turn: (leads: boolean) => void, fail: () => void) => Candidate} Stand
 * `turn` is called when this tab begins to lead, and when another tab has replaced it; `fail` if it can't stand: the
 * browser refuses, for example because the user has blocked the site's data.
 *
 * @typedef {{usurp: () => void, leave: () => void}} Candidate
 */

/** The lifetime of a lease, its renewal interval, and the time in which rivals see it, in milliseconds. */
const LEASE = 10_000;
const RENEW = 3000;
const SETTLE = 30;

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
        if (signal.aborted) return;
        return new Promise((resolve) => {
          signal.onabort = resolve;
          turn(true);
        });
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

/** Pages on plain http have no locks, and hold a lease in localStorage. Throws without it. @type {Stand} */
export const byLease = (name, turn) => {
  const id = Math.random();
  let leads = false;
  /** @type {any} */
  let timer;

  const look = () => {
    clearTimeout(timer);
    const [holder, until] = JSON.parse(localStorage[name] ?? "[0,0]");
    const mine = holder === id;
    const over = until < Date.now();
    if (mine || over) localStorage[name] = JSON.stringify([id, Date.now() + LEASE]);
    const next = over && !mine ? SETTLE : RENEW; // if several tabs take it now, the last one has it
    timer = setTimeout(look, next * (1 + Math.random()));
    if (mine === leads) return;
    leads = mine;
    turn(leads);
  };

  addEventListener("storage", look);
  look();
  return {
    usurp() {
      delete localStorage[name];
      look();
    },
    leave() {
      clearTimeout(timer);
      removeEventListener("storage", look);
      if (leads) delete localStorage[name];
    },
  };
};
