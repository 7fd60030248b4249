/** What few pages need: the transports after the first, and how to follow another tab. */

export { listen } from "./follower.js";
export { byLease } from "./lease.js";
export { peek } from "./peek.js";
export { longpoll, poll } from "./transports/polling.js";
export { websocket } from "./transports/websocket.js";
