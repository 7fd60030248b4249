/** @typedef {import("./types.js").Ending} Ending */
/** @typedef {import("./types.js").Envelope} Envelope */
/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./listeners.js").Listener} Listener */
/** @typedef {import("./types.js").State} State */

import { connect } from "./connection.js";
import { Cursor } from "./cursor.js";
import { browser } from "./environment.js";
import { Ladder } from "./ladder.js";
import { Listeners } from "./listeners.js";
import { lost } from "./transports/ending.js";
import { TRANSPORTS } from "./transports/index.js";
import { OWN } from "./wire.js";

/** The shortest and the longest span, in milliseconds, that a wait is drawn from. */
const BASE = 500;
const LONGEST = 30_000;
/** A connection that was open for this long, in milliseconds, makes up for the failures before it. */
const STEADY = 5000;

const ACTIVE = new Set(["connecting", "open", "waiting", "offline"]);

/** Receives the events of some groups: each once, in order, over whichever transport gets through. */
export class LivepushClient {
  #url;
  /** @type {Set<string>} */
  #wanted;
  /** @type {string[]} */
  #granted = [];
  /** @type {string[]} */
  #refused = [];
  #cursor;
  #listeners;
  #transports;
  #ladder;
  #io;
  /** @type {State} */
  #state = "idle";
  /** @type {Connection | null} */
  #connection = null;
  #attempt = 0;
  /** @type {any} */
  #timer;

  /** @param {import("./types.js").Options & Partial<import("./types.js").Environment>} options */
  constructor({ url, groups = [], position = null, target = document, transports = TRANSPORTS, ...io }) {
    this.#url = url;
    this.#wanted = new Set(groups);
    this.#cursor = new Cursor(position);
    this.#transports = transports;
    this.#ladder = new Ladder(Object.keys(transports));
    this.#io = { ...browser, ...io };
    this.#listeners = new Listeners(target, this.#io.report);
  }

  get state() {
    return this.#state;
  }

  /** The name of the transport in use or being tried, else `null`. */
  get transport() {
    return this.#connection && this.#ladder.name;
  }

  /** Everything up to here has been received; `null` before the first hello of a page without a position. */
  get position() {
    return this.#cursor.position;
  }

  /** The groups that the server lets this client read. */
  get groups() {
    return [...this.#granted];
  }

  /** The groups that it was asked for and refused. */
  get refused() {
    return [...this.#refused];
  }

  /**
   * Call a function with the data and the envelope of each event of a type, `"*"` for all.
   *
   * @param {string} type
   * @param {Listener} listener
   * @returns {() => void} what ends it
   */
  on(type, listener) {
    this.#listeners.add(type, listener);
    return () => this.off(type, listener);
  }

  /**
   * @param {string} type
   * @param {Listener} listener
   */
  off(type, listener) {
    this.#listeners.remove(type, listener);
  }

  /** Connect now, unless connected. */
  start() {
    if (!this.#connection) this.#connect();
  }

  /** Disconnect until `start()`. */
  stop() {
    this.#leave("stopped");
  }

  /** Disconnect until `start()`, as a page does that is put aside; nothing where there is nothing to disconnect. */
  pause() {
    if (ACTIVE.has(this.#state)) this.#leave("paused");
  }

  /** Look at once whether the connection lives, or try at once to have one. */
  wake() {
    if (this.#connection) this.#connection.check();
    else if (ACTIVE.has(this.#state)) this.#connect();
  }

  /** Drop the connection as a failing network would. */
  cut() {
    this.#connection?.end(lost("cut"));
  }

  /**
   * Use one transport alone, or with `null` whichever gets through.
   *
   * @param {string | null} name
   */
  use(name) {
    const names = Object.keys(this.#transports);
    if (name !== null && !names.includes(name)) {
      throw new TypeError(`There is no transport "${name}": expected ${names.join(", ")} or null.`);
    }
    this.#ladder = new Ladder(name === null ? names : [name]);
    this.#attempt = 0;
    if (ACTIVE.has(this.#state)) this.#connect();
  }

  /**
   * Subscribe to further groups, from a position if that is lower than the client's own. Those there are hear
   * nothing twice.
   *
   * @param {Iterable<string>} groups
   * @param {string | null} [position]
   */
  add(groups, position = null) {
    const there = [...this.#wanted];
    for (const group of groups) this.#wanted.add(group);
    if (this.#state === "idle") return this.#cursor.rewind(position);
    if (this.#wanted.size === there.length) return;
    this.#cursor.rewind(position, there);
    if (ACTIVE.has(this.#state) || this.#state === "denied") this.#connect();
  }

  #connect() {
    this.#disconnect();
    if (!this.#wanted.size) return this.#enter("idle");
    const connection = connect(
      /** @type {import("./types.js").Transport} */ (this.#transports[this.#ladder.name]),
      { url: this.#url, groups: [...this.#wanted], since: this.position },
      this.#io,
      {
        receive: (envelopes) => this.#receive(envelopes, connection),
        end: (ending, age) => this.#ended(ending, age),
      },
    );
    this.#connection = connection;
    this.#enter("connecting");
    connection.open();
  }

  #disconnect() {
    this.#io.clearTimeout(this.#timer);
    this.#connection?.close();
    this.#connection = null;
  }

  /** @param {State} state */
  #leave(state) {
    this.#disconnect();
    this.#enter(state);
  }

  /**
   * @param {State} state
   * @param {{reason?: string, retry?: number}} [more]
   */
  #enter(state, more) {
    this.#state = state;
    this.#listeners.dispatch("state", { state, transport: this.transport, position: this.position, ...more });
  }

  /**
   * @param {Ending} ending
   * @param {number} age
   */
  #ended({ kind, reason, retry }, age) {
    this.#connection = null;
    if (kind === "denied") return this.#enter("denied", { reason });
    if (age >= STEADY) this.#attempt = 0;
    const online = this.#io.online(); // without a network, no failure counts against a transport
    if (this.#ladder.ended(online ? kind : "lost", age >= 0 || !online)) this.#connect();
    else this.#wait(reason, retry);
  }

  /**
   * Try again after what the server asked for and a random share of a span that doubles.
   *
   * @param {string} reason
   * @param {number} retry
   */
  #wait(reason, retry) {
    const span = Math.min(BASE * 2 ** this.#attempt++, LONGEST);
    const wait = Math.round(retry + this.#io.random() * span);
    this.#timer = this.#io.setTimeout(() => this.#connect(), wait);
    this.#enter(this.#io.online() ? "waiting" : "offline", { reason, retry: wait });
  }

  /**
   * Take what a connection brings, for as long as it is the client's: a listener may end that.
   *
   * @param {Envelope[]} envelopes
   * @param {Connection} connection
   */
  #receive(envelopes, connection) {
    for (const envelope of envelopes) {
      if (connection !== this.#connection) return;
      if (!envelope.type.startsWith(OWN)) {
        if (this.#cursor.accept(envelope)) this.#listeners.tell(envelope);
      } else this.#heed(envelope, connection);
    }
  }

  /**
   * Do as livepush itself says; what is unknown is for a later client.
   *
   * @param {Envelope} own
   * @param {Connection} connection
   */
  #heed({ type, position = "", groups = [], refused = [], reason = "", retry = 0 }, connection) {
    switch (type.slice(OWN.length)) {
      case "hello":
        if (this.position === null) this.#cursor.reset(position);
        this.#granted = groups;
        this.#refused = refused;
        this.#ladder.opened();
        return this.#enter("open");
      case "position":
        return this.#cursor.advance(position);
      case "reset":
        this.#cursor.reset(position);
        return this.#listeners.dispatch("reset", { position, reason });
      case "revoked":
        return this.#revoke(groups);
      case "bye":
        return connection.end(lost(`bye ${reason}`, retry));
    }
  }

  /** @param {string[]} groups */
  #revoke(groups) {
    this.#granted = this.#granted.filter((group) => !groups.includes(group));
    this.#refused = [...new Set([...this.#refused, ...groups])];
    this.#listeners.dispatch("revoked", { groups });
    if (this.#granted.length || !this.#connection) return;
    this.#disconnect();
    this.#enter("denied", { reason: "revoked" });
  }
}
