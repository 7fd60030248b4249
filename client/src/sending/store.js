/** @typedef {import("../types.js").Link} Link */
/** @typedef {import("../types.js").Message} Message */

/** In local storage: whether a message is stored, so that the next page looks. */
const FLAG = "livepush";

/**
 * Do something with the stored messages, and note whether there are any. The note is made inside of the transaction,
 * because transactions of several pages go one after another, and a page may be closed after any of its own. Without a
 * database (a private window, blocked site data) nothing is stored.
 *
 * @param {(messages: IDBObjectStore) => IDBRequest} work
 * @returns {Promise<any>}
 */
const use = (work) =>
  new Promise((done, fail) => {
    const opening = indexedDB.open("livepush", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("messages", { keyPath: "key" });
    opening.onerror = fail;
    opening.onsuccess = () => {
      const database = opening.result;
      const transaction = database.transaction("messages", "readwrite");
      const messages = transaction.objectStore("messages");
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

/** @param {Link} link @param {Message} message */
export const keep = async ({ url }, { group, type, data, key, login: tabs = "" }) => {
  try {
    await use((messages) =>
      messages.put({ key, group, type, data, url, tabs, at: performance.timeOrigin + performance.now() }),
    );
  } catch {}
};

/** @param {Message} message */
export const forget = async ({ key }) => {
  try {
    await use((messages) => messages.delete(key));
  } catch {}
};

/**
 * Hand over the messages that an earlier page of this login has left; delete those of other logins.
 *
 * @param {Link} link
 * @param {(messages: Message[]) => void} hand
 */
export const restore = async (link, hand) => {
  try {
    const all = (await use((messages) => messages.getAll())).filter(
      (/** @type {any} */ each) => each.url === link.url,
    );
    const login = loginOf(link);
    const mine = all.filter((/** @type {any} */ each) => each.tabs === (login ?? ""));
    for (const each of all) if (!mine.includes(each)) forget(each);
    mine.sort((/** @type {any} */ a, /** @type {any} */ b) => a.at - b.at);
    const nothing = () => {};
    hand(
      mine.map((/** @type {any} */ each) => ({ ...each, login, persist: true, resolve: nothing, reject: nothing })),
    );
  } catch {}
};
