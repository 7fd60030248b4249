/** How often a transport that never opened may fail before the next one is tried. */
const PATIENCE = 2;

/** Which transport is next: those that may be used, in order of preference. */
export class Ladder {
  #names;
  #at = 0;
  #failures = 0;
  #steps = 0;
  /** The most preferred that worked; an outage leads back to it. */
  #home = Number.POSITIVE_INFINITY;
  /** Those that worked: no failure counts against them. @type {Set<string>} */
  #proven = new Set();

  /** @param {string[]} names  at least one */
  constructor(names) {
    this.#names = names;
  }

  get name() {
    return /** @type {string} */ (this.#names[this.#at]);
  }

  /** Note that the transport works. */
  opened() {
    this.#proven.add(this.name);
    this.#home = Math.min(this.#home, this.#at);
    this.#steps = 0;
  }

  /**
   * Note that a connection has ended; return whether the next attempt may be made at once.
   *
   * @param {import("./types.js").Kind} kind
   * @param {boolean} excused  whether it had been open, or no transport could have been
   */
  ended(kind, excused) {
    if (kind === "next") return this.#step();
    if (excused) this.#at = Math.min(this.#home, this.#at);
    else if (++this.#failures >= PATIENCE && !this.#proven.has(this.name)) this.#step();
    return false;
  }

  /** Go on to the next transport; return false when all have been tried in vain. */
  #step() {
    this.#at = (this.#at + 1) % this.#names.length;
    this.#failures = 0;
    return ++this.#steps % this.#names.length !== 0;
  }
}
