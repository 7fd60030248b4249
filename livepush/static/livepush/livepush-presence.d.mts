import type { LivepushClient, Room } from "./livepush.mjs";

export type { Member, Room } from "./livepush.mjs";

export interface RoomOptions {
  /** Where livepush is mounted, for example `/livepush/`. */
  url: string;
  /** Where the client dispatches its events; the document where it is left out. */
  target?: EventTarget;
  /** Returns what goes with requests, such as `Authorization`. */
  headers?: () => Record<string, string> | Promise<Record<string, string>>;
}

/** Follow who is there in a group. */
export declare const openRoom: (client: LivepushClient, group: string, options: RoomOptions) => Room;
