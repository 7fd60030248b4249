/** What the declarations promise is what the sources have; `tsc` checks this, and nothing runs it. */

import type * as declared from "../../livepush/static/livepush/livepush.mjs";
import * as sources from "../src/index.js";

export const Client: typeof declared.LivepushClient = sources.LivepushClient;
export const State: typeof declared.State = sources.State;
