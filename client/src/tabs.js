/** @typedef {import("./types.js").Welcome} Welcome */

import { byLease, byLock } from "./election.js";
import { listen } from "./follower.js";

/** @typedef {ReturnType<typeof createTabs>} Tabs */

/** How long a leader may be silent before it is asked whether it lives, and then before it is replaced, in milliseconds. */
const SILENCE = 5000;
/** The longest random addition, so that not all tabs ask at once, in milliseconds. */
const SPREAD = 1000;
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
 * @param {(wish: import("./types.js").Request) => unknown} isFull  called when a follower wants groups from there
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
  /** Whether no leader has answered: then a follower connects by itself until one does. */
  let isOrphan = false;
  /** Whether the leader has answered this follower. */
  let isAnswered = false;
  /** Handles a message as a follower. @type {((message: any[]) => void) | undefined} */
  let hear;
  /** When the leader last said something, and when it was last asked whether it is alive. */
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
      if (/ask|ping|gone/.test(kind)) return; // other followers' messages say nothing about the leader
      if (kind === "lead" || isOrphan) {
        isOrphan = false;
        rejoin();
      } else hear?.(data);
    } else if (kind === "ask") {
      followers.set(from, { ...what, at: Date.now() });
      if (!isFull(what)) return;
      followers.delete(from);
      say("alone", 0, from);
    } else if (kind === "ping") {
      const follower = followers.get(from);
      if (follower) follower.at = Date.now();
      say(follower ? "pong" : "lead"); // an unknown follower (it was frozen, or this tab is new) asks again
    } else if (kind === "gone") followers.delete(from);
  };

  /** @param {boolean} leads */
  const turn = (leads) => {
    const isConnected = leads && isOrphan;
    role = leads ? "leader" : "follower";
    isOrphan = false;
    followers.clear();
    if (leads) say("lead");
    if (!isConnected) rejoin();
  };

  /** Leave the other tabs: let another lead, and close everything that keeps the page out of the back/forward cache. */
  const leave = () => {
    if (!channel) return;
    say("gone");
    standing?.leave();
    channel.close();
    channel = undefined;
    role = "follower";
    isOrphan = false;
    followers.clear();
  };

  const part = () => {
    leave();
    role = "alone";
  };

  /**
   * Ask a silent leader whether it is alive, and replace it if it does not answer. If this tab slept meanwhile, ask
   * again.
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

    isAnswered = false;
    hear = ([kind, what, , to]) => {
      heard = Date.now();
      isAnswered = true;
      if ((to ?? id) !== id) return;
      if (kind === "alone") {
        part();
        rejoin();
      } else listener.heed(kind, what);
    };
    heard = Date.now();
    asked = 0;
    say("ask", request);
    timer = setTimeout(() => {
      if (isAnswered) timer = setTimeout(look, SILENCE - ANSWER_WITHIN);
      else {
        isOrphan = true;
        rejoin();
      }
    }, ANSWER_WITHIN);
    return () => {
      listener.silence();
      clearTimeout(timer);
      hear = undefined;
    };
  };
  follow.patient = true;

  return {
    rank: () => (isOrphan ? "alone" : role),
    follows: () => role === "follower" && !isOrphan,

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

    /** Join the other tabs, if the browser can do that. */
    takePart() {
      if (channel || role === "alone") return;
      try {
        channel = new BroadcastChannel(name);
        channel.onmessage = take;
        standing = (navigator.locks ? byLock : byLease)(name, turn, () => {
          part();
          rejoin();
        });
      } catch {
        part(); // no BroadcastChannel here, or no way to elect a leader
      }
    },

    leave,
    follow,

    /** Check at once whether the leader is alive. */
    lookOver() {
      asked = 0;
      if (hear && isAnswered) look();
    },

    /**
     * Tell the followers the connection's events or its state.
     *
     * @param {"events" | "state"} kind
     * @param {object} what
     */
    tell(kind, what) {
      if (followers.size) say(kind, what);
    },

    /**
     * Tell the followers that wait for it that the connection brings their groups.
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
