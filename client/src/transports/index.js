import { longpoll, poll } from "./polling.js";
import { sse } from "./sse.js";
import { websocket } from "./websocket.js";

/** Every transport, in order of preference. @type {Record<string, import("../types.js").Transport>} */
export const TRANSPORTS = { sse, websocket, longpoll, poll };
