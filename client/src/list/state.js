/**
 * The part of the page's inbox that a list uses: see `inbox/request.js` and `inbox/store.js`.
 *
 * @typedef {object} Inbox
 * @property {typeof import("../inbox/request.js").here} here
 * @property {typeof import("../inbox/request.js").request} request
 * @property {typeof import("../inbox/store.js").take} take
 * @property {typeof import("../inbox/store.js").count} count
 * @property {typeof import("../inbox/store.js").catchUp} catchUp
 * @property {typeof import("../inbox/store.js").isUncounted} isUncounted
 *
 * @typedef {object} State
 * @property {any} element
 * @property {Inbox} inbox
 * @property {any} root  the element's tree
 * @property {string} url  of the page that is to be listed
 * @property {string} shownUrl  of the page that is listed
 * @property {string} extra  the query's further part: the change that the page offers to undo
 * @property {any} [upto]  the position after which an entry is new
 * @property {number} begun  how many loads have begun
 * @property {number} shown  which load is shown: answers may come in another order
 * @property {boolean} [isStart]  whether the list is to begin anew, with all that is new
 * @property {Promise<void>} [starting]  done when it has begun anew, or could not be fetched
 * @property {() => void} [started]
 * @property {number} pending  how many changes are on their way
 * @property {Promise<void>} changed  done when these changes are made: each waits for the one before it
 * @property {boolean} [isOwn]  whether the reader's own change has just been made
 * @property {Promise<void>} [released]  done when no pointer is down
 * @property {boolean} [isAway]  whether the list is outside of the part of the page that shows
 * @property {IntersectionObserver} [observer]  sees when the reader comes to the end of the list
 */

/**
 * Return the state of a list that shows what its element has.
 *
 * @param {any} element
 * @param {Inbox} inbox
 * @returns {State}
 */
export const createState = (element, inbox) => {
  const { url } = (element.form ?? element).dataset;
  return {
    element,
    inbox,
    root: element.root,
    url,
    shownUrl: url,
    extra: "",
    begun: 0,
    shown: 0,
    pending: 0,
    changed: Promise.resolve(),
  };
};

/** Return the entries that show, the newest first. @param {State} list @returns {any[]} */
export const entriesOf = ({ root }) => [...root.querySelectorAll("li:not([hidden])")];

/** Return those of them that can have the focus: one that is gone elsewhere can't. @param {State} list @returns {any[]} */
export const liveEntriesOf = (list) => entriesOf(list).filter(({ inert }) => !inert);

/** Return whether the reader can see the list. A closed `<details>` has boxes. @param {State} list @returns {boolean} */
export const isVisible = ({ element, isAway }) =>
  !document.hidden && !isAway && (element.checkVisibility?.() ?? true) && !!element.getClientRects()[0];

/** Return whether the list leaves out new ones: it shows a category, the archive, or older ones. @param {State} list */
export const isPartial = ({ element }) => "partial" in element.form.dataset;
