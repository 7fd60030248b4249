/** @typedef {import("./types.js").Role} Role */
/** @typedef {import("./types.js").Welcome} Welcome */

import { byLock } from "./election.js";
import { later } from "./transports/later.js";

/** @typedef {ReturnType<typeof createTabs>} Tabs */

/** How long a leader may be silent before it is asked whether it lives, and then before it is replaced, in milliseconds. */
const SILENCE = 5000;
/** The longest random addition, so that not all tabs ask at once, in milliseconds. */
const SPREAD = 1000;
/** A tab that is not elected within this time, in milliseconds, assumes that another tab leads. */
const ELECTED_WITHIN = 50;
/** How long a tab waits for a leader's first answer before it connects by itself, in milliseconds. */
const ANSWER_WITHIN = 800;
/** How long a silent tab counts as open, in milliseconds: in hidden tabs, timers run once a minute. */
const FORGET = 150_000;

/**
 * Return this tab's part among the tabs that share a connection: one leads and connects, the others get events from it.
 *
 * To a follower, the leader is a transport like any other: the follower asks with groups and a position, gets a hello,
 * and polls for the events between its own position and the leader's.
 *
 * @param {string} url
 * @param {string | undefined} shared  identifies the tabs that share; a tab without it is alone
 * @param {() => void} rejoin  called to connect anew: to the server if this tab leads or is alone, else to the leader
 * @param {(wish: import("./types.js").Request) => unknown} takeIn  takes in the groups that a follower wants; returns
 *   whether they are too many. Called with none when a follower has gone, so that its groups are dropped
 * @param {import("./types.js").Load} load
 */
export const createTabs = (url, shared, rejoin, takeIn, load) => {
  const name = `livepush:${url}:${shared}`;
  /** @type {number | undefined} */
  let id;
  /** The tabs that follow this one. @type {Map<number, {groups: string[], at: number, told?: boolean}>} */
  const followers = new Map();
  /** An orphan is a follower that no leader has answered: it connects by itself until one does. @type {Role | "orphan"} */
  let role = shared === undefined ? "alone" : "follower";
  /** @type {BroadcastChannel | undefined} */
  let channel;
  /** @type {import("./election.js").Candidate | undefined} */
  let standing;
  /**
   * Turns the leader's messages into envelopes, for a follower.
   *
   * @type {ReturnType<typeof import("./follower.js").listen> | undefined}
   */
  let listener;
  /** Whether this tab has what it needs to follow. */
  let isReady = false;
  /** When the leader last said something, 0 before it has answered; and when it was last asked whether it is alive. */
  let heard = 0;
  let asked = 0;
  /** @type {any} */
  let timer;

  /**
   * @param {string} kind
   * @param {unknown} [what]
   * @param {number} [to]  a tab's id; none for all
   */
  const say = (kind, what, to) => channel?.postMessage([kind, what, id, to]);

  /** Ask the leader, where there is a new one or this tab had none. */
  const adopt = (as = /** @type {Role | "orphan"} */ ("follower")) => {
    role = as;
    rejoin();
  };

  /** @param {MessageEvent} message */
  const take = ({ data }) => {
    const [kind, what, from, to = id] = data;
    if (role !== "leader") {
      if (!isReady || /ask|ping|gone/.test(kind)) return; // other followers' messages say nothing about the leader
      heard = Date.now();
      if (kind === "lead" || role === "orphan") adopt();
      else if (to === id) {
        if (kind === "alone") separate();
        else listener?.heed(kind, what);
      }
    } else if (kind === "ask") {
      followers.set(from, { ...what, at: Date.now() });
      if (takeIn(what)) {
        followers.delete(from);
        say("alone", 0, from);
      }
    } else if (kind === "ping") {
      const follower = followers.get(from);
      if (follower) follower.at = Date.now();
      say(follower ? "pong" : "lead"); // an unknown follower (it was frozen, or this tab is new) asks again
    } else if (kind === "gone" && followers.delete(from)) takeIn(/** @type {any} */ ({ groups: [] }));
  };

  /** @param {boolean} leads */
  const turn = (leads) => {
    const wasOrphan = role === "orphan";
    role = leads ? "leader" : "follower";
    followers.clear();
    if (leads) say("lead");
    if (!(leads && wasOrphan)) rejoin();
  };

  /** Leave the other tabs: let another lead, and close everything that keeps the page out of the back/forward cache. */
  const leave = () => {
    if (!channel) return;
    say("gone");
    standing?.leave();
    channel.close();
    channel = undefined;
    role = "follower";
    followers.clear();
  };

  const separate = () => {
    leave();
    adopt("alone");
  };

  /** Elect a leader where there are no locks. @param {BroadcastChannel} joined */
  const lease = async (joined) => {
    const { byLease } = await load("fallback");
    try {
      if (channel === joined) standing = byLease(name, turn, separate);
    } catch {
      separate(); // no storage
    }
  };

  /**
   * Ask a silent leader whether it is alive, and replace it if it does not answer. If this tab slept meanwhile, ask
   * again.
   */
  const look = () => {
    clearTimeout(timer);
    timer = setTimeout(look, SILENCE + SPREAD * Math.random());
    const now = Date.now();
    if (!heard) {
      if (isReady || !document.hidden) adopt("orphan"); // else a host may have six connections in all (HTTP/1.1)
    } else if (heard >= asked || now - asked > 3 * SILENCE) {
      asked = now;
      say("ping");
    } else if (now - asked >= SILENCE) {
      asked = 0;
      standing?.usurp();
    }
  };

  /** Asks the leader for events. */
  const ask = later(async () => {
    const { listen } = await load("fallback");
    isReady = true;
    if (role === "orphan") adopt();
    return (request, hand, end) => {
      listener = listen(request, hand, end);
      say("ask", request);
      return () => {
        listener?.silence();
        listener = undefined;
      };
    };
  });

  /** How to follow the leader. @type {import("./types.js").Transport} */
  const follow = (...how) => {
    /** @type {import("./types.js").Shut | undefined} */
    let shut;
    const begin = () => {
      timer = setTimeout(look, ANSWER_WITHIN);
      shut = ask(...how);
    };
    heard = asked = 0;
    if (isReady) begin();
    else timer = setTimeout(begin, ELECTED_WITHIN);
    return () => {
      clearTimeout(timer);
      shut?.();
      heard = 0;
    };
  };
  follow.patient = true;

  return {
    rank: () => (role === "orphan" ? "alone" : role),
    follows: () => role === "follower",

    /** The groups that the followers want, of those that are still there. */
    followersGroups() {
      const since = Date.now() - FORGET;
      const groups = [];
      for (const [id, follower] of followers) {
        if (follower.at < since) {
          followers.delete(id);
          say("forgotten", 0, id); // else it would hear events, and not those of its groups
        } else groups.push(...follower.groups);
      }
      return groups;
    },

    /** Join the other tabs, if the browser can do that, and connect. */
    takePart() {
      try {
        if (!channel && role !== "alone") {
          [id] = crypto.getRandomValues(new Uint32Array(1));
          const joined = new BroadcastChannel(name);
          joined.postMessage(["gone", 0, id]); // to see that it can be done; no leader knows this tab yet
          joined.onmessage = take;
          channel = joined;
          if (navigator.locks) standing = byLock(name, turn, separate);
          else lease(joined);
        }
      } catch {
        return separate(); // no BroadcastChannel here, or no way to elect a leader
      }
      rejoin();
    },

    leave,
    separate,
    follow,

    /** Check at once whether the leader is alive. */
    lookOver() {
      asked = 0;
      if (heard) look();
    },

    /**
     * Tell the followers the connection's events or its state, or to ask anew.
     *
     * @param {"events" | "state" | "lead"} kind  with "lead", they ask anew
     * @param {object} [what]
     */
    tell(kind, what) {
      if (followers.size) say(kind, what);
    },

    /**
     * Tell the followers that wait for it that the connection brings their groups.
     *
     * @param {Set<string>} covered  all that it brings
     * @param {Welcome} hello
     */
    welcome(covered, hello) {
      for (const [id, follower] of followers) {
        if (follower.told || !follower.groups.every((group) => covered.has(group))) continue;
        follower.told = true;
        say("hello", hello, id);
      }
    },
  };
};
