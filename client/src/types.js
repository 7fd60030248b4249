/**
 * The shapes that the modules share.
 *
 * @typedef {{type: string, id?: string, group?: string, data?: any, time?: string, groups?: string[],
 *   position?: string, heartbeat?: number, refused?: string[], reason?: string, retry?: number,
 *   transport?: string | null}} Envelope
 * An event, or what livepush itself says; its type then begins with `livepush.`. An event has `groups` where it comes
 * through several of the groups that were asked for; `group` is the first of them.
 *
 * @typedef {Required<Envelope>} Own
 * What livepush itself says; each type has those of the fields that it needs.
 *
 * @typedef {{url: string, groups: string[], since: string | null}} Request
 * What a connection asks for; `since` is a position, `null` for from now on.
 *
 * @typedef {"lost" | "next" | "denied"} Kind
 * Why a connection ended: `lost`, come back; `next`, this transport does not get through; `denied`, do not come back.
 *
 * @typedef {{kind: Kind, reason: string, retry: number}} Ending
 * How a connection ended; `retry` is the least milliseconds that the server wants to be left alone.
 *
 * @typedef {(envelopes: Envelope[]) => unknown} Receive
 * @typedef {(ending: Ending) => unknown} End
 *
 * @typedef {((request: Request, receive: Receive, end: End, heard?: () => void) => () => void) & {patient?: boolean}}
 *   Transport
 * Connects, and returns what closes the connection. The first envelope that it hands to `receive` is `livepush.hello`,
 * within a few seconds unless it is `patient`; `heard` says that bytes came, be it a heartbeat.
 *
 * @typedef {{events: Envelope[], position: string, reset: boolean, refused: string[]}} Answer
 * What a poll is answered.
 *
 * @typedef {{position: string, transport: string | null, granted: string[], refused: string[]}} Welcome
 * What a leader tells a follower: behind which position its groups' events are relayed, and which the server grants.
 *
 * @typedef {"alone" | "leader" | "follower"} Role
 *
 * @typedef {"idle" | "connecting" | "open" | "waiting" | "offline" | "paused" | "denied" | "stopped"} StateName
 *
 * @typedef {{state: StateName, transport: string | null, position: string | null, reason?: string, retry?: number}}
 *   StateDetail
 *
 * @typedef {object} Session
 * The state of a client. Each function of its modules is given it; `received` and `ended` lead from a connection back to
 * `session.js`, which the modules below it do not import.
 * @property {string} url
 * @property {Record<string, Transport>} transports  in order of preference
 * @property {EventTarget} target  where events are dispatched
 * @property {number} most  the most groups that a connection may have
 * @property {import("./cursor.js").Cursor} cursor
 * @property {import("./tabs.js").Tabs} tabs
 * @property {import("./ladder.js").Ladder} ladder
 * @property {import("./connection.js").Receive} received
 * @property {import("./connection.js").Ended} ended
 * @property {Set<string>} wanted  the groups that this tab's page wants
 * @property {string[]} grants  the groups that the server lets this client read, also for the tabs that follow
 * @property {string[]} refusals  those that it was asked for and refused
 * @property {string[]} covered  those that have had everything up to the cursor
 * @property {import("./connection.js").Connection | null} [inUse]
 * @property {import("./connection.js").Connection | null} [upcoming]  what takes its place once it is open
 * @property {StateName} stateName
 * @property {string} [shown]  the state as it was told last
 * @property {string | null} [mirrored]  the leader's transport
 * @property {number} attempt  how many attempts have failed in a row
 * @property {number} probes  how often a better transport was tried
 * @property {boolean} [hedged]  whether a poll was made since the client was started
 * @property {any} [timer]  of what is next: while connecting a hedge, while open a probe, while waiting another attempt
 * @property {string | null} gathered  from where the groups are wanted that followers asked for
 * @property {any} [gathering]  the timer of that
 *
 * @typedef {object} Options
 * @property {string} url  where livepush is mounted, for example `/livepush/`
 * @property {Iterable<string>} [groups]
 * @property {string | null} [position]  behind which events are wanted; from now on where there is none
 * @property {EventTarget} [target]  where events are dispatched
 * @property {string | undefined} [tabs]  tabs with the same text share a connection: it stands for who is logged in
 * @property {number | string | undefined} [most]  the most groups that a connection may have
 * @property {Record<string, Transport>} [transports]  in order of preference
 */

/**
 * What a client is doing.
 *
 * @type {Readonly<{[Name in StateName]: Name}>}
 */
export const State = Object.freeze({
  /** Not started, or nothing to subscribe to. */
  idle: "idle",
  /** No hello yet. */
  connecting: "connecting",
  /** Live. */
  open: "open",
  /** Tries again soon. */
  waiting: "waiting",
  /** The same, and the browser knows of no network. */
  offline: "offline",
  /** The page is put aside. */
  paused: "paused",
  /** The server refuses; `start()` tries again. */
  denied: "denied",
  /** By `stop()`. */
  stopped: "stopped",
});
