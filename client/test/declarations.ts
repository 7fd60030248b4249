/** What the declarations promise is what the sources have; `tsc` checks this, and nothing runs it. */

import type * as declared from "../../livepush/static/livepush/livepush.mjs";
import type * as declaredPresence from "../../livepush/static/livepush/livepush-presence.mjs";
import * as sources from "../src/index.js";
import * as presence from "../src/presence/index.js";

export const Client: typeof declared.LivepushClient = sources.LivepushClient;
export const State: typeof declared.State = sources.State;
export const openRoom: typeof declaredPresence.openRoom = presence.openRoom;

/** What the manual promises of the page's client and of its events. */
export const room = (): declared.Room => window.livepush.presence("lobby:main");
export const why = ({ detail }: DocumentEventMap["livepush:revoked"]): string => detail.reason;
