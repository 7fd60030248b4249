/** @typedef {import("./types.js").Ending} Ending */
/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./types.js").Envelope} Envelope */
/** @typedef {import("./types.js").Own} Own */
/** @typedef {import("./types.js").StateDetail} StateDetail */
/** @typedef {import("./types.js").StateName} StateName */
/** @typedef {import("./types.js").Transport} Transport */

import { connect } from "./connection.js";
import { createCursor } from "./cursor.js";
import { announce, dispatch } from "./events.js";
import { createLadder } from "./ladder.js";
import { lower } from "./position.js";
import { createTabs } from "./tabs.js";
import { lost } from "./transports/ending.js";
import { TRANSPORTS } from "./transports/index.js";
import { HELLO } from "./wire.js";

/** The shortest and the longest span, in milliseconds, that a wait is drawn from. */
const BASE = 500;
const LONGEST = 30_000;
/** A connection that was open for this long, in milliseconds, makes up for the failures before it. */
const STEADY = 5000;
/** How long a connection may take to open until one poll fetches what there is, in milliseconds. */
const SLOW = 600;
/** How soon a better transport is tried beside the one in use: at first, after it was seen blocked, and at the latest. */
const SOON = 3000;
const LATER = 30_000;
const LATEST = 600_000;
/** How long further tabs that ask for groups are waited for, in milliseconds. */
const GATHER = 20;

/** @typedef {ReturnType<typeof createClient>} Client */

/**
 * Make a client, which receives the events of some groups: each once, in order, over whichever transport gets through.
 *
 * @param {import("./types.js").Options} options
 */
export function createClient({
  url,
  groups = [],
  position,
  target = document,
  tabs: shared,
  most = 100,
  transports = TRANSPORTS,
}) {
  const names = Object.keys(transports);
  const wanted = new Set(groups);
  const cursor = createCursor(position || null);
  const tabs = createTabs(
    url,
    shared,
    () => reconnect(),
    (since) => asked(since),
    (leader) => mirror(leader),
  );
  let ladder = createLadder(names);
  /** @type {string[]} */
  let granted = [];
  /** @type {string[]} */
  let refused = [];
  /** Those that have had everything up to the cursor. @type {string[]} */
  let covered = [];
  /** From where the groups are wanted that followers asked for. @type {string | null} */
  let gathered = null;
  /** @type {StateName} */
  let state = "idle";
  /** The state as it was told last. @type {string | undefined} */
  let shown;
  /** The leader's transport. @type {string | null | undefined} */
  let mirrored;
  /** @type {Connection | null | undefined} */
  let connection;
  /** What is to take the connection's place once it is open. @type {Connection | null | undefined} */
  let next;
  let attempt = 0;
  let probes = 0;
  /** @type {boolean | undefined} */
  let hedged;
  /** Of what is next: while connecting a hedge, while open a probe, while waiting another attempt. @type {any} */
  let timer;
  /** @type {any} */
  let gatherTimer;

  const isActive = () => !["idle", "paused", "denied", "stopped"].includes(state);
  const follows = () => tabs.rank() === "follower";
  const transport = () => (connection && ((follows() && mirrored) || connection.via)) ?? null;

  /** @param {string} group */
  const isWanted = (group) => wanted.has(group);

  /** The groups of this tab, and of those that follow it. */
  const all = () => [...new Set([...wanted, ...tabs.groups()])];

  /** Whether there are groups that the connection does not bring. */
  const isMissing = () => !all().every((group) => covered.includes(group));

  const start = () => {
    if (connection && state !== "denied") return;
    hedged = false;
    if (wanted.size) tabs.takePart();
    reconnect();
  };

  const stop = () => leave("stopped");

  const pause = () => (isActive() || state === "denied") && leave("paused");

  /** @param {boolean} [moved] */
  const wake = (moved) => {
    if (connection) {
      connection.lookOver();
      tabs.lookOver();
      if (state === "open" && (moved || connection.silence() > STEADY)) peek();
    } else if (isActive()) reconnect();
  };

  const cut = () => connection?.conclude(lost("cut"));

  /** @param {string | null} name */
  const use = (name) => {
    const chosen = names.filter((each) => name === null || each === name);
    if (!chosen.length) {
      throw new TypeError(`There is no transport "${name}": expected ${names.join(", ")} or null.`);
    }
    ladder = createLadder(chosen);
    attempt = 0;
    if (isActive()) reconnect();
  };

  /**
   * @param {Iterable<string>} groups
   * @param {string | null} [since]
   */
  const add = (groups, since) => {
    for (const group of groups) wanted.add(group);
    if (state === "idle" || isMissing()) extend(since);
  };

  /** @param {Iterable<string>} groups */
  const remove = (groups) => {
    for (const group of groups) wanted.delete(group);
  };

  /**
   * Have the connection bring further groups.
   *
   * @param {string | null} [since]
   */
  const extend = (since) => {
    if (state === "open" && !follows()) return replace(ladder.name(), since);
    cursor.rewind(since, covered);
    if (isActive() || state === "denied") reconnect();
  };

  const reconnect = () => {
    if (!all().length) return leave("idle");
    disconnect();
    const fresh = prepare(ladder.name(), cursor.position);
    connection = fresh;
    covered = fresh.asks.groups;
    if (!hedged) timer = setTimeout(peek, SLOW);
    enter("connecting");
    fresh.begin();
  };

  /**
   * @param {string} name
   * @param {string | null} since
   */
  const prepare = (name, since) =>
    connect(
      name,
      follows() ? tabs.follow : /** @type {Transport} */ (transports[name]),
      { url, groups: all(), since },
      receive,
      ended,
    );

  /**
   * Open a connection beside the one there is, which takes its place without a gap.
   *
   * @param {string} name  of its transport
   * @param {string | null} [since]  from where it is to read, if that is lower than the client's own
   */
  const replace = (name, since) => {
    next?.abandon();
    next = prepare(name, lower(lower(cursor.position, since), next?.asks.since));
    next.begin();
  };

  const disconnect = () => {
    clearTimeout(timer);
    clearTimeout(gatherTimer);
    if (isMissing()) cursor.rewind(next?.asks.since, covered); // what it was to read is still to be read
    next?.abandon();
    connection?.abandon();
    next = connection = null;
  };

  /** @param {StateName} state */
  const leave = (state) => {
    disconnect();
    tabs.leave();
    enter(state);
  };

  const now = () => ({ state, transport: transport(), position: cursor.position });

  /**
   * @param {StateName} entered
   * @param {{reason?: string, retry?: number}} [more]
   */
  const enter = (entered, more) => {
    state = entered;
    const detail = { ...more, ...now() };
    tabs.tell("state", detail);
    const text = JSON.stringify(detail);
    if (text !== shown) dispatch(target, "state", detail);
    shown = text;
  };

  /** Fetch by one poll what a connection that is slow or silent may owe. */
  const peek = () => {
    const since = cursor.position;
    const slow = connection;
    if (!transports.poll || !slow || !since || follows()) return;
    hedged = true;
    const close = transports.poll(
      { url, groups: covered, since },
      (envelopes) => {
        close();
        if (slow !== connection || envelopes[1]?.type === "livepush.reset") return;
        const before = cursor.position;
        receive(envelopes.slice(1, -1), slow); // no hello, nor how far the log has come: events alone give rise to doubt
        if (cursor.position !== before && state === "open") slow.doubt();
      },
      () => {},
    );
  };

  /** Try a better transport now and then. */
  const seek = () => {
    clearTimeout(timer);
    const better = ladder.better();
    if (!better) {
      probes = 0;
      return;
    }
    timer = setTimeout(
      () => replace(/** @type {string} */ (names[probes++ % better])),
      Math.min((ladder.blocked() ? LATER : SOON) * 2 ** probes, LATEST),
    );
  };

  /**
   * @param {Ending} ending
   * @param {number} age
   * @param {Connection} of
   */
  const ended = ({ kind, reason, retry }, age, of) => {
    if (of === next) {
      if (of.via === connection?.via) return connection.conclude(lost(reason, retry));
      next = null;
      return isMissing() ? extend(of.asks.since) : seek();
    }
    disconnect();
    if (kind === "denied") return enter("denied", { reason });
    if (age >= STEADY) attempt = 0;
    const { onLine } = navigator; // without a network, no failure counts against a transport
    if (!follows() && ladder.failed(onLine ? kind : "lost", age >= 0 || !onLine)) return reconnect();
    // Try again after what the server asked for and a random share of a span that doubles.
    const wait = Math.round(retry + Math.min(BASE * 2 ** attempt++, LONGEST) * Math.random());
    timer = setTimeout(reconnect, wait);
    enter(onLine ? "waiting" : "offline", { reason, retry: wait });
  };

  /**
   * Take what a connection brings, for as long as it is the client's: a listener may end that.
   *
   * @param {Envelope[]} envelopes
   * @param {Connection} from
   */
  const receive = (envelopes, from) => {
    if (from === next && envelopes[0]?.type === HELLO) {
      connection?.abandon();
      connection = from;
      next = null;
      cursor.rewind(from.asks.since, covered);
      covered = from.asks.groups;
    }
    tabs.tell(
      "events",
      envelopes.filter(({ type }) => type !== HELLO && type !== "livepush.bye"),
    );
    for (const envelope of envelopes) {
      if (from !== connection) return;
      if (envelope.type.startsWith("livepush.")) heed[envelope.type]?.(/** @type {Own} */ (envelope));
      else take(envelope);
    }
  };

  /**
   * Tell the page of an event, with those of its groups alone that this tab wants: others may be a follower's.
   *
   * @param {Envelope} event
   */
  const take = (event) => {
    const groups = event.groups ?? [event.group];
    const mine = [...wanted].filter((group) => groups.includes(group));
    const [first, second] = mine;
    if (!cursor.isNews(event.id, mine) || !first) return;
    event.group = first;
    if (second) event.groups = mine;
    else delete event.groups;
    announce(target, event);
  };

  /** @param {Own} hello */
  const opened = (hello) => {
    if (!cursor.position) cursor.jumpTo(hello.position);
    const gone = granted.filter((group) => hello.refused.includes(group));
    ({ groups: granted, refused } = hello);
    if (follows()) mirrored = hello.transport;
    else {
      ladder.worked(/** @type {Connection} */ (connection).via);
      seek();
    }
    enter("open");
    greet();
    if (gone.length) receive([{ type: "livepush.revoked", groups: gone }], /** @type {Connection} */ (connection));
  };

  /** @param {Own} revoked */
  const revoke = ({ groups }) => {
    const mine = groups.filter(isWanted);
    granted = granted.filter((group) => !groups.includes(group));
    refused = [...new Set([...refused, ...groups])];
    if (mine.length) dispatch(target, "revoked", { groups: mine });
    if (granted.length || !connection) return;
    disconnect();
    enter("denied", { reason: "revoked" });
  };

  /** What to do when livepush itself says something. @type {Record<string, (own: Own) => void>} */
  const heed = {
    [HELLO]: opened,
    "livepush.position": ({ position }) => cursor.proceed(position),
    "livepush.reset"({ position, reason }) {
      cursor.jumpTo(position);
      dispatch(target, "reset", { position, reason });
    },
    "livepush.revoked": revoke,
    "livepush.bye": ({ reason, retry }) => connection?.conclude(lost(`bye ${reason}`, retry)),
  };

  /**
   * Take in what a follower wants, unless that is too much; return whether it is.
   *
   * @param {string | null} since
   */
  const asked = (since) => {
    if (all().length > /** @type {number} */ (most)) return true;
    if (state === "open" && !isMissing()) return greet();
    if (state === "denied") reconnect();
    else if (isMissing()) {
      gathered = lower(gathered, since);
      clearTimeout(gatherTimer);
      gatherTimer = setTimeout(() => {
        extend(gathered);
        gathered = null;
      }, GATHER);
    }
    tabs.tell("state", now());
  };

  /** Tell the followers whose groups the connection brings. */
  const greet = () =>
    tabs.welcome(covered, { ...now(), position: /** @type {string} */ (cursor.position), granted, refused });

  /** @param {StateDetail} leader */
  const mirror = (leader) => {
    mirrored = leader.transport;
    enter(leader.state, leader);
  };

  return {
    get state() {
      return state;
    },

    /** The name of the transport in use or being tried, else `null`. */
    get transport() {
      return transport();
    },

    /** What this tab is to the others: "leader" has the connection, a "follower" gets its events from it; or "alone". */
    get role() {
      return tabs.rank();
    },

    /** Everything up to here has been received; `null` before the first hello of a page without a position. */
    get position() {
      return cursor.position;
    },

    /** The groups that the server lets this client read. */
    get groups() {
      return granted.filter(isWanted);
    },

    /** The groups that it was asked for and refused. */
    get refused() {
      return refused.filter(isWanted);
    },

    /**
     * Call a function with the data and the envelope of each event of a type, `"*"` for all; return what ends it.
     *
     * @param {string} type
     * @param {(data: any, envelope: any) => void} listener
     */
    on(type, listener) {
      const name = type === "*" ? "livepush:event" : `livepush:event:${type}`;
      /** @param {any} event */
      const hear = ({ detail }) => listener(detail.data, detail);
      target.addEventListener(name, hear);
      return () => target.removeEventListener(name, hear);
    },

    /** Connect now, unless connected. */
    start,

    /** Disconnect until `start()`. */
    stop,

    /** Disconnect until `start()`, as a page does that is put aside; nothing where there is nothing to disconnect. */
    pause,

    /**
     * Look at once whether the connection lives, or try at once to have one. Where the network has `moved`, silence is
     * no sign of life.
     */
    wake,

    /** Drop the connection as a failing network would. */
    cut,

    /** Use one transport alone, or with `null` whichever gets through. */
    use,

    /**
     * Subscribe to further groups, from a position if that is lower than the client's own. Those there are hear
     * nothing twice.
     */
    add,

    /** Hear nothing more of some groups. */
    remove,
  };
}
