/** @typedef {import("./types.js").Envelope} Envelope */

import { compare, lower } from "./position.js";

/** How far the client has come, for all of its groups. */
export class Cursor {
  /** What some groups have had already, though the cursor went back behind it. @type {Map<string, string>} */
  #had = new Map();

  /** @param {string | null} position */
  constructor(position) {
    /** @type {string | null} */
    this.position = position;
  }

  /**
   * Say whether an event is news, and move on to it. One without a position is always news.
   *
   * @param {Envelope} event
   */
  accept({ id, group = "" }) {
    if (id === undefined) return true;
    const had = this.#had.get(group);
    return this.advance(id) && !(had !== undefined && compare(id, had) <= 0);
  }

  /**
   * Move on to a position; return false where it is not further.
   *
   * @param {string} position
   */
  advance(position) {
    if (this.position !== null && compare(position, this.position) <= 0) return false;
    this.position = position;
    return true;
  }

  /**
   * Forget everything and go on from a position.
   *
   * @param {string} position
   */
  reset(position) {
    this.position = position;
    this.#had.clear();
  }

  /**
   * Go back to a position if it is lower, for groups that come in.
   *
   * @param {string | null} position
   * @param {string[]} [groups]  those there are, that have had everything up to here
   */
  rewind(position, groups = []) {
    const from = this.position;
    this.position = lower(from, position);
    if (from === null || from === this.position) return;
    for (const group of groups) {
      if (!(compare(this.#had.get(group) ?? from, from) > 0)) this.#had.set(group, from);
    }
  }
}
