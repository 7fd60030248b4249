/**
 * Send data that the server gets even if the page goes meanwhile. Nothing waits for the answer.
 *
 * @param {string} url
 * @param {FormData} body
 */
export const beacon = (url, body) =>
  navigator.sendBeacon?.(url, body) || fetch(url, { method: "POST", body, keepalive: true }).catch(() => {});
