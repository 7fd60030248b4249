/** The browser's own. @type {import("./types.js").Environment} */
export const browser = {
  fetch: (...request) => fetch(...request),
  WebSocket: globalThis.WebSocket,
  setTimeout: (task, milliseconds) => setTimeout(task, milliseconds),
  clearTimeout: (timer) => clearTimeout(timer),
  now: Date.now,
  random: Math.random,
  online: () => globalThis.navigator?.onLine !== false,
  report: (error) => reportError(error),
  base: globalThis.location?.href,
};
