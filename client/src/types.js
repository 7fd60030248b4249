/**
 * Types that the modules share.
 *
 * @typedef {{type: string, id?: string, group?: string, data?: any, time?: string, groups?: string[],
 *   position?: string, heartbeat?: number, refused?: string[], failed?: any, reason?: string, retry?: number,
 *   transport?: string | null}} Envelope
 * An event, or one of livepush's own messages, whose types begin with `livepush.`. An event has `groups` if it was sent
 * to several of the requested groups; `group` is the first of them.
 *
 * @typedef {Required<Envelope>} Own
 * One of livepush's own messages. Each type has only the fields that it needs.
 *
 * @typedef {{url: string, groups: string[], since: string | null, headers?: Record<string, string>,
 *   protocols?: string[]}} Request
 * The request of a connection. `since` is a position, or `null` for events from now on.
 *
 * @typedef {"lost" | "next" | "denied"} Kind
 * Why a connection ended. `lost`: connect again; `next`: this transport does not get through; `denied`: stop.
 *
 * @typedef {{kind: Kind, reason: string, retry: number}} Ending
 * How a connection ended; `retry` is the shortest pause that the server asks for, in milliseconds.
 *
 * @typedef {(envelopes: Envelope[]) => unknown} Receive
 * @typedef {(ending: Ending) => unknown} End
 *
 * @typedef {(() => void) & {speak?: (text: string) => unknown}} Shut
 * Closes a connection; `speak` writes a command, where the transport can.
 *
 * @typedef {((request: Request, receive: Receive, end: End, heard?: () => void) => Shut) & {patient?: boolean}}
 *   Transport
 * Connects, and returns a function that closes the connection. It first hands `livepush.hello` to `receive`, within a
 * few seconds unless it is `patient`. It calls `heard` when any bytes arrive, even a heartbeat.
 *
 * @typedef {{events: Envelope[], position: string, reset: boolean, refused: string[], failed?: string[],
 *   reason?: string}} Answer
 * The answer to a poll. If the server could not ask some groups' rules, they are `failed`, and the position stays. The
 * `reason` says why groups were taken away while the server held it, or that the token has ended.
 *
 * @typedef {{position: string, transport: string | null, granted: string[], refused: string[],
 *   failed?: unknown}} Welcome
 * A leader's hello to a follower: the position after which it relays events, and the groups that the server grants.
 *
 * @typedef {"alone" | "leader" | "follower"} Role
 *
 * @typedef {"idle" | "connecting" | "open" | "waiting" | "offline" | "paused" | "denied" | "stopped"} StateName
 *
 * @typedef {{state: StateName, transport: string | null, position: string | null, reason?: string, retry?: number}}
 *   StateDetail
 *
 * @typedef {{ok: boolean, reply?: any, code?: string, message?: string, retry?: number,
 *   errors?: Record<string, string[]>}} Outcome
 * The server's answer to a message; `errors` tells what is wrong with each field of the data.
 *
 * @typedef {{key?: string, ephemeral?: boolean, persist?: boolean}} SendOptions
 * `ephemeral`: once, to those who are connected now; `persist`: kept over a reload until it is answered.
 *
 * @typedef {{group: string, type: string, data?: any, key: string, ephemeral?: boolean | undefined,
 *   kept?: any, login?: string | undefined, after?: Promise<unknown>, text: string,
 *   refusals?: number, refused?: number, resolve: (reply?: any) => void, reject: (error: Error) => void}} Message
 * It goes out as `text`, its JSON, `after` a promise has settled. `kept` is its number in the browser's database, or a
 * promise of it. `login` is the `data-tabs` of the page's newest tag when it was sent. A proxy has refused it `refusals`
 * times, since `refused`.
 *
 * @typedef {{url: string, target: EventTarget, tabs?: string | undefined, owner?: string | undefined,
 *   getToken?: (() => string | Promise<string>) | undefined,
 *   say: (text: string) => unknown, onReply?: (reply: any) => void, sender?: Promise<Sender>,
 *   pending?: Waiting[]}} Link
 * The client as the sending module knows it: `say` writes over this tab's own WebSocket, and is false without one. With
 * `tabs` the server is told whose message it is. Without it, `owner` says whose the kept messages are.
 *
 * @typedef {{group: string, type: string, data?: any, key: string}} Waiting
 *
 * @typedef {{send: (...what: any[]) => Promise<any>}} Sender
 *
 * @typedef {(name: "attributes" | "fallback" | "send") => Promise<any>} Load
 * Loads a module of the client's own, once.
 *
 * @typedef {import("./cursor.js").Cursor & SessionFields} Session
 *
 * @typedef {object} SessionFields
 * The state of a client. Every function of its modules gets it. A connection calls `session.js` through `received` and
 * `whenEnded`, because the modules below `session.js` do not import it.
 * @property {string} url
 * @property {Link} link
 * @property {Load} load
 * @property {Record<string, Transport>} transports  in order of preference
 * @property {EventTarget} target  where events are dispatched
 * @property {number} most  the most groups that a connection may have
 * @property {import("./tabs.js").Tabs} peers  the other tabs
 * @property {import("./ladder.js").Ladder} ladder
 * @property {import("./connection.js").Received} received
 * @property {import("./connection.js").Ended} whenEnded
 * @property {string[]} grants  the groups that the server lets this client read, also for the tabs that follow
 * @property {string[]} refusals  the groups that the server refused
 * @property {string | null} [owed]  from where the server still owes events of some of them: it could not ask their rules
 * @property {import("./connection.js").Connection | null} [inUse]
 * @property {import("./connection.js").Connection | null} [upcoming]  replaces `inUse` once it is open
 * @property {StateName} stateName
 * @property {string} [shown]  the state that was last dispatched
 * @property {number} attempt  how many attempts have failed in a row
 * @property {any} [notBefore]  when the server allows the next attempt, in milliseconds since 1970
 * @property {number} probes  how often a better transport was tried
 * @property {boolean} [hedged]  whether a poll was made since the client was started
 * @property {boolean} [isStarted]  whether the client was started, and has not been stopped or paused since
 * @property {any} [timer]  of the next step: a hedge while connecting, a probe while open, a retry while waiting
 * @property {any} [gathering]  the timer for collecting followers' requests for groups
 *
 * @typedef {object} Options
 * @property {string} url  where livepush is mounted, for example `/livepush/`
 * @property {Iterable<string>} [groups]
 * @property {string | null} [position]  events after it are wanted; without one, events from now on
 * @property {EventTarget} [target]  where events are dispatched
 * @property {string | undefined} [tabs]  tabs with the same text share a connection: it identifies who is logged in
 * @property {number | string | undefined} [most]  the most groups that a connection may have
 * @property {Record<string, Transport>} [transports]  in order of preference
 * @property {Load} [load]
 * @property {() => string | Promise<string>} [getToken]  returns a token, before each connection; only with
 *   `LivepushClient`
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
  /** Waits, and the browser reports no network. */
  offline: "offline",
  /** The page is put aside. */
  paused: "paused",
  /** The server refuses; `start()` tries again. */
  denied: "denied",
  /** `stop()` was called. */
  stopped: "stopped",
});
