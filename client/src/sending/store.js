/** @typedef {import("../types.js").Link} Link */
/** @typedef {import("../types.js").Message} Message */

/** In local storage: whether a message is stored, so that the next page looks. */
const FLAG = "livepush";

const nothing = () => {};

/**
 * Do something with the stored messages, and note whether there are any. The note is made inside of the transaction,
 * because transactions of several pages go one after another, and a page may be closed after any of its own. Without a
 * database (a private window, blocked site data) nothing is stored.
 *
 * The database numbers the messages as they come, whatever clocks say: `getAll` returns them in the order of the calls.
 *
 * @param {(messages: IDBObjectStore) => IDBRequest} work
 * @returns {Promise<any>}
 */
const use = (work) =>
  new Promise((done, fail) => {
    const opening = indexedDB.open("livepush", 2);
    opening.onupgradeneeded = () =>
      opening.result.createObjectStore("sent", { keyPath: "id", autoIncrement: true });
    opening.onerror = fail;
    opening.onsuccess = () => {
      const database = opening.result;
      const transaction = database.transaction("sent", "readwrite");
      const messages = transaction.objectStore("sent");
      const asked = work(messages);
      const counted = messages.count();
      counted.onsuccess = () => {
        try {
          if (counted.result) localStorage[FLAG] = 1;
          else delete localStorage[FLAG];
        } catch {} // it is full
      };
      transaction.oncomplete = () => {
        database.close();
        done(asked.result);
      };
      transaction.onabort = fail;
    };
  });

/**
 * Return the login of the page's newest tag: a new body of the page may be another one's. A client without `tabs` tells
 * no login.
 *
 * @param {any} link
 * @returns {string | undefined}
 */
export const loginOf = ({ target, tabs }) => {
  /** @type {HTMLElement[]} */
  const tags = tabs === undefined ? [] : [...(target.querySelectorAll?.("script[data-livepush]") ?? [])];
  return tags.pop()?.dataset.tabs ?? tabs;
};

/**
 * Store a message, if it is known whose it is; return a promise of its number there.
 *
 * @param {Link} link
 * @param {Message} message
 */
export const keep = ({ url, owner }, { group, type, data, key, login: tabs = owner }) =>
  tabs != null && use((messages) => messages.put({ group, type, data, key, url, tabs })).catch(nothing);

/** @param {Message} message */
export const forget = async ({ kept }) => {
  const id = await kept;
  if (id) use((messages) => messages.delete(id)).catch(nothing);
};

/**
 * Hand over the messages that an earlier page of this login has left; delete those of other logins. A client that can't
 * say whose it is leaves all as they are.
 *
 * @param {Link} link
 * @param {(message: Message) => void} hand
 */
export const restore = async (link, hand) => {
  const all = await use((messages) => messages.getAll()).catch(() => []);
  const login = loginOf(link);
  const owner = login ?? link.owner;
  for (const { id, url, tabs, ...stored } of all) {
    if (url !== link.url || owner == null) continue;
    const message = { ...stored, kept: id, login, resolve: nothing, reject: nothing };
    if (tabs === owner) hand(message);
    else forget(message);
  }
};
