/** @typedef {import("./types.js").Welcome} Welcome */

import { byLease, byLock } from "./election.js";
import { listen } from "./follower.js";

/** @typedef {ReturnType<typeof createTabs>} Tabs */

/** How long a leader may be silent before it is asked whether it lives, and then before it is replaced, in milliseconds. */
const SILENCE = 5000;
/** How much more at most, at random: not all are to ask at once. */
const SPREAD = 1000;
/** How long a tab that says nothing counts as there, in milliseconds: hidden tabs have a timer once a minute. */
const FORGET = 150_000;

/**
 * Make the tabs that share a connection: one leads and has it, the others follow and get their events from it.
 *
 * To a follower the leader is a transport like any other: it asks with groups and a position, is told hello, and gets
 * what lies between its own position and the leader's by polling.
 *
 * @param {string} url
 * @param {string | undefined} shared  what those have in common that share; a tab without it is alone
 * @param {() => void} rejoin  called to connect anew: to the server where this tab leads or is alone, else to the leader
 * @param {(since: string | null) => unknown} isFull  called when a follower wants its groups from there
 * @param {(state: import("./types.js").StateDetail) => void} mirror  called with the state of the leader's connection
 */
export const createTabs = (url, shared, rejoin, isFull, mirror) => {
  const name = `livepush:${url}:${shared}`;
  const [id] = crypto.getRandomValues(new Uint32Array(1));
  /** The tabs that follow this one. @type {Map<number, {groups: string[], at: number, told?: boolean}>} */
  const followers = new Map();
  /** @type {import("./types.js").Role} */
  let role = shared === undefined ? "alone" : "follower";
  /** @type {BroadcastChannel | undefined} */
  let channel;
  /** @type {import("./election.js").Candidate | undefined} */
  let standing;
  /** What a follower does with a message. @type {((message: any[]) => void) | undefined} */
  let hear;
  /** When the leader was last heard, and last asked whether it lives. */
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

  /** @param {MessageEvent} message */
  const take = ({ data }) => {
    const [kind, what, from] = data;
    if (role !== "leader") {
      if (kind === "lead") rejoin();
      else if (!/ask|ping|gone/.test(kind)) hear?.(data); // what other followers say is no sign of the leader's life
    } else if (kind === "ask") {
      followers.set(from, { ...what, at: Date.now() });
      if (!isFull(what.since)) return;
      followers.delete(from);
      say("alone", 0, from);
    } else if (kind === "ping") {
      const follower = followers.get(from);
      if (follower) follower.at = Date.now();
      say(follower ? "pong" : "lead"); // who is not known, since it was frozen or this tab is new, asks again
    } else if (kind === "gone") followers.delete(from);
  };

  /** @param {boolean} leads */
  const turn = (leads) => {
    role = leads ? "leader" : "follower";
    followers.clear();
    if (leads) say("lead");
    rejoin();
  };

  /** Be none of them: let another lead, and leave nothing open that keeps the page out of the back/forward cache. */
  const leave = () => {
    if (!channel) return;
    say("gone");
    standing?.leave();
    channel.close();
    channel = undefined;
    role = "follower";
    followers.clear();
  };

  const part = () => {
    leave();
    role = "alone";
  };

  /**
   * Ask a silent leader whether it lives; take its place where it does not say so. Where this tab slept meanwhile, it
   * asks again.
   */
  const look = () => {
    clearTimeout(timer);
    const now = Date.now();
    if (heard >= asked || now - asked > 3 * SILENCE) {
      asked = now;
      say("ping");
    } else if (now - asked >= SILENCE) {
      asked = 0;
      standing?.usurp();
    }
    timer = setTimeout(look, SILENCE + SPREAD * Math.random());
  };

  /** How to follow the leader. @type {import("./types.js").Transport} */
  const follow = (request, hand, end) => {
    const listener = listen(request, hand, end, mirror);

    hear = ([kind, what, , to]) => {
      heard = Date.now();
      if ((to ?? id) !== id) return;
      if (kind === "alone") {
        part();
        rejoin();
      } else listener.heed(kind, what);
    };
    heard = Date.now();
    asked = 0;
    say("ask", request);
    timer = setTimeout(look, SILENCE);
    return () => {
      listener.silence();
      clearTimeout(timer);
      hear = undefined;
    };
  };
  follow.patient = true;

  return {
    rank: () => role,
    follows: () => role === "follower",

    /** The groups that the followers want, of those that are still there. */
    groups() {
      const since = Date.now() - FORGET;
      const groups = [];
      for (const [id, follower] of followers) {
        if (follower.at < since) followers.delete(id);
        else groups.push(...follower.groups);
      }
      return groups;
    },

    /** Be one of the tabs, where that is possible here. */
    takePart() {
      if (channel || role === "alone") return;
      try {
        channel = new BroadcastChannel(name);
        channel.onmessage = take;
        standing = (navigator.locks ? byLock : byLease)(name, turn);
      } catch {
        part(); // no such channel here, or nothing to elect a leader with
      }
    },

    leave,
    follow,

    /** Look at once whether the leader lives. */
    lookOver() {
      asked = 0;
      if (hear) look();
    },

    /**
     * Tell the followers of what the connection brought, or of its state.
     *
     * @param {"events" | "state"} kind
     * @param {object} what
     */
    tell(kind, what) {
      if (followers.size) say(kind, what);
    },

    /**
     * Tell those that wait for it that the connection brings their groups.
     *
     * @param {string[]} covered  all that it brings
     * @param {Welcome} hello
     */
    welcome(covered, hello) {
      for (const [id, follower] of followers) {
        if (follower.told || !follower.groups.every((group) => covered.includes(group))) continue;
        follower.told = true;
        say("hello", hello, id);
      }
    },
  };
};
