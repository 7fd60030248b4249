/**
 * Two ways to stand for leader among the tabs of a name; one leads at a time, but for a moment after it was replaced.
 *
 * @typedef {(name: string, turn: (leads: boolean) => void) => Candidate} Stand
 * `turn` is called when this tab begins to lead, and when another took its place.
 *
 * @typedef {{usurp: () => void, leave: () => void}} Candidate
 */

/** How long a lease lasts, how often it is renewed, and how long rivals need to see it, in milliseconds. */
const LEASE = 10_000;
const RENEW = 3000;
const SETTLE = 30;

/** With Web Locks the browser tells at once when a leader has gone, however it went. @type {Stand} */
export const byLock = (name, turn) => {
  const { locks } = navigator;
  const standing = new AbortController();
  const { signal } = standing;
  /** @type {((value?: unknown) => void) | undefined} */
  let release;

  /** @param {LockOptions} options */
  const request = (options) => {
    let held = false;
    locks
      .request(name, options, () => {
        held = true;
        if (signal.aborted) return;
        return new Promise((resolve) => {
          release = resolve;
          turn(true);
        });
      })
      .catch(() => {
        if (signal.aborted || !held) return;
        turn(false); // another stole it
        if (!options.steal) request(options); // who stole it is in the queue still
      });
  };

  request({ signal });
  return {
    usurp: () => request({ steal: true }),
    leave() {
      standing.abort();
      release?.();
    },
  };
};

/** Pages of plain http have no locks and hold a lease in localStorage. Throws where there is none. @type {Stand} */
export const byLease = (name, turn) => {
  const id = Math.random();
  let leads = false;
  /** @type {any} */
  let timer;

  const take = () => {
    localStorage[name] = JSON.stringify([id, Date.now() + LEASE]);
  };

  const look = () => {
    clearTimeout(timer);
    const [holder, until] = JSON.parse(localStorage[name] ?? "[0,0]");
    const mine = holder === id;
    const over = until < Date.now();
    if (mine || over) take();
    const next = over && !mine ? SETTLE : RENEW; // of those who take it now, the last has it
    timer = setTimeout(look, next * (1 + Math.random()));
    if (mine === leads) return;
    leads = mine;
    turn(leads);
  };

  addEventListener("storage", look);
  look();
  return {
    usurp() {
      take();
      look();
    },
    leave() {
      clearTimeout(timer);
      removeEventListener("storage", look);
      if (leads) delete localStorage[name];
    },
  };
};
