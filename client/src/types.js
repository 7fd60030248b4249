/**
 * The shapes that the modules share.
 *
 * @typedef {{type: string, id?: string, group?: string, data?: any, time?: string, position?: string,
 *   heartbeat?: number, groups?: string[], refused?: string[], reason?: string, retry?: number}} Envelope
 * An event, or what livepush itself says (its type begins with `livepush.`).
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
 * @typedef {object} Sink
 * What a transport reports to.
 * @property {() => void} heard  bytes came, be it a heartbeat
 * @property {(envelopes: Envelope[]) => void} receive
 * @property {(ending: Ending) => void} end
 *
 * @typedef {(request: Request, io: Environment, sink: Sink) => () => void} Transport
 * Connects, and returns what closes the connection. The first envelope is `livepush.hello`.
 *
 * @typedef {Pick<WebSocket, "onmessage" | "onclose" | "close">} WebSocketLike
 *
 * @typedef {object} Environment
 * What the client takes from its surroundings.
 * @property {(url: URL, options: RequestInit) => Promise<Response>} fetch
 * @property {new (url: string, protocols: string[]) => WebSocketLike} WebSocket
 * @property {(task: () => void, milliseconds: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now  milliseconds of a clock that goes on while the machine sleeps
 * @property {() => number} random  0 to 1
 * @property {() => boolean} online
 * @property {(error: unknown) => void} report  tells the page of an error in a listener
 * @property {string | undefined} base  the address that relative ones start from
 *
 * @typedef {"idle" | "connecting" | "open" | "waiting" | "offline" | "paused" | "denied" | "stopped"} State
 * idle: not started, or nothing to subscribe to; connecting: no hello yet; open: live; waiting: tries again soon;
 * offline: the same, and the browser knows of no network; paused: the page is put aside; denied: the server refuses,
 * `start()` tries again; stopped: by `stop()`.
 *
 * @typedef {object} Options
 * @property {string} url  where livepush is mounted, for example `/livepush/`
 * @property {Iterable<string>} [groups]
 * @property {string | null} [position]  behind which events are wanted; from now on where there is none
 * @property {EventTarget} [target]  where events are dispatched
 * @property {Record<string, Transport>} [transports]  in order of preference
 */

export {};
