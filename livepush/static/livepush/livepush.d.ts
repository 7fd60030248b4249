/** An event, or what livepush itself says; its type then begins with `livepush.`. */
export interface LivepushEvent<Data = any> {
  /** Its position; an ephemeral event has none. */
  id?: string;
  /** The group through which it came; the first of them where there are several. */
  group: string;
  /** All of the groups that were asked for and that it was sent to; only where there are two or more. */
  groups?: string[];
  type: string;
  data: Data;
  /** Who sent it, if a client did or the server named a sender: what `LIVEPUSH["PUBLIC_USER"]` tells of that user. */
  from?: { id: string | null; name: string; [more: string]: any };
  /** When it was sent, RFC 3339 in UTC. */
  time: string;
}

/** What a client is doing; see `docs/client.md`. */
export type StateName =
  | "idle"
  | "connecting"
  | "open"
  | "waiting"
  | "offline"
  | "paused"
  | "denied"
  | "stopped";

export declare const State: Readonly<{ [Name in StateName]: Name }>;

export type TransportName = "sse" | "websocket" | "longpoll" | "poll";

export interface StateDetail {
  state: StateName;
  transport: string | null;
  position: string | null;
  /** Why it waits or was refused. */
  reason?: string;
  /** In how many milliseconds it tries again. */
  retry?: number;
}

export interface Options {
  /** Where livepush is mounted, for example `/livepush/`. */
  url: string;
  groups?: Iterable<string>;
  /** Behind which events are wanted; from now on where there is none. */
  position?: string | null;
  /** Where events are dispatched; the document where it is left out. */
  target?: EventTarget;
  /**
   * Tabs with the same text share a connection: it stands for who is logged in. With `getToken` they share none. Kept
   * messages go out again only from a client with the same text.
   */
  tabs?: string;
  /** The most groups that a connection may have, as `MAX_GROUPS` on the server. */
  most?: number;
  /** Returns a token, before each connection and each message; for clients without cookies. */
  getToken?: () => string | Promise<string>;
}

export interface SendOptions {
  /** A message that is sent again with the same key takes effect once. By default, each message has a key of its own. */
  key?: string;
  /** Send it once, and only to clients that are connected now; of a group and type at most 30 a second, the newest. */
  ephemeral?: boolean;
  /**
   * Keep it over a reload or a closed browser until it is answered. It is gone with the session, as after a new login. Of
   * clients that you make, only one with `tabs` keeps messages.
   */
  persist?: boolean;
}

/** Why the server refused a message. */
export interface SendError extends Error {
  code: string;
  /** With the code `invalid`: what is wrong with each field of the data. */
  errors?: Record<string, string[]>;
}

export interface PendingMessage {
  group: string;
  type: string;
  data?: any;
  key: string;
}

/** Receives the events of some groups: each once, in order, over whichever transport gets through. */
export declare class LivepushClient {
  constructor(options: Options);
  readonly state: StateName;
  readonly transport: string | null;
  readonly role: "leader" | "follower" | "alone";
  readonly position: string | null;
  readonly groups: string[];
  readonly refused: string[];
  on<Data = any>(type: string, listener: (data: Data, event: LivepushEvent<Data>) => void): () => void;
  /** The messages that are not answered yet. */
  readonly pending: PendingMessage[];
  /** Send a message; the promise is of the handler's answer, or rejected with a `SendError`. */
  send<Reply = any>(group: string, type: string, data?: unknown, options?: SendOptions): Promise<Reply>;
  start(): void;
  stop(): void;
  pause(): void;
  wake(moved?: boolean): void;
  cut(): void;
  use(name: TransportName | null): void;
  add(groups: Iterable<string>, position?: string | null): void;
  remove(groups: Iterable<string>): void;
}

/** A member who is there in a group, as others see it. */
export interface Member<Info = any, Said = any> {
  /** The user's primary key; an anonymous visitor's begins with `~`. */
  id: string;
  /** What the rule returned. */
  info: Info;
  /** What the member's page has said of itself. */
  state: Said;
  connections: number;
  since: string | null;
}

export interface Room {
  /** Who is there. */
  readonly members: Member[];
  /** Call a function with the members whenever they change; return its undo function. */
  on(type: "change", listener: (members: Member[]) => void): () => void;
  /** Say something of this page's member, such as `{away: true}`. */
  update(said: object): void;
  /** Follow no longer, and leave the group. */
  leave(): void;
}

/** A part of a stream: text, or a value of JSON. */
export interface StreamPart {
  text?: string;
  data?: any;
  /** How far the stream has come with it. */
  offset: number;
}

export interface StreamOptions {
  /** The offset after which to read. */
  after?: number;
  /** Ends the reading. */
  signal?: AbortSignal;
  /** They go with each request. */
  headers?: HeadersInit;
}

/** A stream: iterate over it to read it. */
export interface Stream extends AsyncIterable<StreamPart> {
  /** The text so far. */
  readonly text: string;
  /** `running`, or how it ended. */
  readonly state: string;
  /** Why it failed. */
  readonly error: string;
  /** How far the work has come, from 0 to 1. */
  readonly progress: number | undefined;
  readonly metadata: any;
  /** The reader's offset. */
  readonly offset: number;
  /** Ask its producer to stop. */
  stop(): Promise<Response>;
}

/** The page's client, which the tag makes. */
export interface PageClient extends LivepushClient {
  scan(): void;
  /** Follow who is there in a group; on a page with `{% livepush_presence %}`. */
  presence(group: string): Room;
  /** Read a stream, by its id or its address; on a page with `{% livepush_stream %}`. */
  stream(id: string, options?: StreamOptions): Stream;
}

declare global {
  interface Window {
    livepush: PageClient;
  }
  /** Of elements with `data-livepush-on` or `data-livepush-refresh`, and of `<livepush-stream>`. */
  interface ElementEventMap {
    [type: `livepush:event:${string}`]: CustomEvent<LivepushEvent>;
    "livepush:event": CustomEvent<LivepushEvent>;
    "livepush:refreshed": CustomEvent;
    "livepush:part": CustomEvent<{ stream: Stream; part: StreamPart }>;
    "livepush:stream": CustomEvent<{ stream: Stream; state: string }>;
  }
  interface DocumentEventMap {
    [type: `livepush:event:${string}`]: CustomEvent<LivepushEvent>;
    "livepush:event": CustomEvent<LivepushEvent>;
    "livepush:state": CustomEvent<StateDetail>;
    "livepush:pending": CustomEvent<{ pending: PendingMessage[] }>;
    "livepush:answered": CustomEvent<PendingMessage & { reply?: any; error?: SendError }>;
    "livepush:reset": CustomEvent<{ position: string; reason: string }>;
    "livepush:revoked": CustomEvent<{ groups: string[]; reason: string }>;
    "livepush:inbox": CustomEvent<{ unseen: number; unread: number }>;
    "livepush:part": CustomEvent<{ stream: Stream; part: StreamPart }>;
  }
}
