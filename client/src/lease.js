/** The lifetime of a lease, its renewal interval, and the time in which rivals see it, in milliseconds. */
const LEASE = 10_000;
const RENEW = 3000;
const SETTLE = 30;

/** Pages on plain http have no locks, and hold a lease in localStorage. Throws without it. @type {import("./election.js").Stand} */
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
    const next = mine || !over ? RENEW : SETTLE; // if several tabs take it now, the last one has it
    timer = setTimeout(look, next * (1 + Math.random()));
    if (mine === leads) return;
    leads = mine;
    turn(leads);
  };

  look(); // where this throws, nothing listens
  addEventListener("storage", look);
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
