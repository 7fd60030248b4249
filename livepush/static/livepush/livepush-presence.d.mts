import type { LivepushClient } from "./livepush.mjs";

/** A member who is there, as others see it. */
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

export interface RoomOptions {
  /** Where livepush is mounted, for example `/livepush/`. */
  url: string;
  /** Where the client dispatches its events; the document where it is left out. */
  target?: EventTarget;
  /** Returns what goes with requests, such as `X-CSRFToken` or `Authorization`. */
  headers?: () => Record<string, string> | Promise<Record<string, string>>;
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

/** Follow who is there in a group. */
export declare const openRoom: (client: LivepushClient, group: string, options: RoomOptions) => Room;
