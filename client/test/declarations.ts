/** What the declarations promise is what the sources have; `tsc` checks this, and nothing runs it. */

import type * as declared from "../../livepush/static/livepush/livepush.mjs";
import type * as declaredPresence from "../../livepush/static/livepush/livepush-presence.mjs";
import * as sources from "../src/index.js";
import * as presence from "../src/presence/index.js";
import { Stream } from "../src/streams/stream.js";

export const Client: typeof declared.LivepushClient = sources.LivepushClient;
export const State: typeof declared.State = sources.State;
export const openRoom: typeof declaredPresence.openRoom = presence.openRoom;
export const stream: declared.PageClient["stream"] = (id, options) => new Stream(id, options);

/** What the manual promises of the page's client and of its events. */
export const room = (): declared.Room => window.livepush.presence("lobby:main");
export const why = ({ detail }: DocumentEventMap["livepush:revoked"]): string => detail.reason;
export const read = async (): Promise<void> => {
  for await (const part of window.livepush.stream("k3x9", { after: 0 })) console.log(part.text, part.data);
};
document.addEventListener("livepush:event:status", ({ detail }) => detail.data.status);
document.addEventListener("livepush:inbox", ({ detail }) => detail.unread + detail.unseen);
document.addEventListener("livepush:part", (event) => event.detail.stream.text + event.detail.part.offset);
document.body.addEventListener("livepush:stream", ({ detail }) => detail.state + detail.stream.error);
document.body.addEventListener("livepush:event:status", ({ detail }) => detail.data.status);
