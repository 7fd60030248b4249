import { loseAll } from "./elements.js";

/** How long an answer may take, in milliseconds: later changes wait for it. */
const LIMIT = 30_000;

/** The user whose inbox this page shows, as the server names readers. @type {string} */
export let reader;
/** Why the page shows nothing: `login` (nobody is logged in), `reader` (somebody else is), or nothing. */
export let lost = "";
/** Called when that has changed. @type {() => void} */
let changed;

/** @param {string} why */
const lose = (why) => {
  if (why === lost) return;
  lost = why;
  changed();
  loseAll(why);
};

/**
 * Say whose inbox the page shows from now on. Nothing of another user's stays.
 *
 * @param {string} name
 * @param {() => void} tell
 */
export const belong = (name, tell) => {
  changed = tell;
  if (reader && name !== reader) lose("reader");
  reader = name;
  lose("");
};

/**
 * Return an address of the inbox on the page's own host: a `<base>` may name another one, which must get no token.
 *
 * @param {string} url
 */
export const here = (url) => {
  const { pathname, search } = new URL(url, location.href);
  return location.origin + pathname + search;
};

/**
 * Ask the server for JSON, or for a part of a page as a document: unlike text, a document needs no permission from
 * Trusted Types, and it runs no script. Without a page in the request, the answer is a part.
 * Return `false` without an answer of this reader's inbox: a proxy, a portal or a login page may answer instead.
 *
 * @param {string} url
 * @param {FormData | URLSearchParams | null} [body]  the data to send, if any
 * @param {XMLHttpRequestResponseType} [type]
 * @returns {Promise<any>}
 */
export const request = (url, body, type = "json") =>
  new Promise((resolve) => {
    const asker = reader;
    const request = new XMLHttpRequest();
    request.open(body ? "POST" : "GET", here(url));
    request.responseType = type;
    request.timeout = LIMIT;
    request.onloadend = () => {
      if (asker !== reader) return resolve(false); // the page has become another user's meanwhile
      const { status } = request;
      const response = [200, 409].includes(status) && request.response; // other pages are not even parsed
      const said = response && (response.forms ? response.forms[0]?.dataset : response);
      const isMine = said?.reader === reader;
      if (status === 200 && said?.reader) lose(isMine ? "" : "reader");
      else if (said?.code === "other_reader") lose("reader");
      else if (status === 401 || response?.querySelector?.("[type=password]")) lose("login");
      resolve(status === 200 && isMine && response);
    };
    request.send(body);
  });
