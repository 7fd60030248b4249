/** The code of a list. Its forms and links work without scripts; with scripts, they work without leaving the page. */

import { follow, forgetUndo, sendUnanswered, submit } from "./changes.js";
import { prepare, watchPictures } from "./entries.js";
import { press } from "./keys.js";
import { load, more, ready, see, start } from "./loading.js";
import { createState, isPartial, isVisible, liveEntriesOf } from "./state.js";
import { showTimes } from "./times.js";

addEventListener("pagehide", sendUnanswered);

/**
 * Have a list's element do what a list does; return what the page's inbox and the bell tell it.
 *
 * @param {any} element
 * @param {import("./state.js").Inbox} inbox
 */
export const createList = (element, inbox) => {
  const { root } = element;
  const list = createState(element, inbox);
  const heed = createListeners(list, () => {
    if (element.find("[data-f=news]:not([hidden]),li[inert]")) element.refresh(0);
  });
  for (const type in heed) {
    const target = type === "pointerleave" ? element : root; // it does not bubble: a shadow tree's root never gets it
    target.addEventListener(type, heed[type]);
  }
  watchPictures(root);
  let isLate = !isVisible(list); // something may come that it does not show
  const renew = () => {
    isLate = !isVisible(list);
    return isLate || load(list);
  };
  if (!element.closest("[part~=panel]")) {
    list.isAway = true; // until the browser says where it is; the bell starts its own list
    new IntersectionObserver((told) => {
      list.isAway = !told.at(-1)?.isIntersecting;
      if (isLate) renew();
      else if (isVisible(list)) see(list);
    }).observe(element);
  }
  if (element.form) {
    prepare(root);
    ready(list);
  }

  return {
    /** Fetch the list anew: at once if it is visible, else when it is shown. */
    renew,

    start(/** @type {string} */ url) {
      forgetUndo(list); // a change may have been answered since the panel closed
      start(list, url);
    },

    /** Return whether new notifications show in this list. */
    isListing: () => isVisible(list) && element.form && !isPartial(list),

    age: () => showTimes(root),

    /** The panel has closed. */
    close() {
      forgetUndo(list);
      if (element.why === "mark") element.fail("");
      if (element.form) see(list);
    },
  };
};

/** Show a tab or a category. The address of the inbox's own page follows, so that a reload and Back show it again. */
const choose = (/** @type {import("./state.js").State} */ list, /** @type {any} */ link) => {
  const isPages = list.element.getRootNode() === document && link.pathname === location.pathname;
  if (isPages) history.replaceState(history.state, "", list.inbox.here(link));
  start(list, link.getAttribute("href"));
};

/**
 * Return the listeners of a list's element, by type.
 *
 * @param {import("./state.js").State} list
 * @param {() => void} release  called when nothing holds the entries in their places any more
 * @returns {Record<string, (event: any) => void>}
 */
const createListeners = (list, release) => ({
  click(event) {
    const control = event.target.closest("a,button");
    const name = control?.dataset.f;
    if (name === "title" && control.href) return follow(list, control);
    if (!control || event.ctrlKey || event.metaKey) return;
    if (event.detail > 1 && control.type === "submit") return event.preventDefault(); // a double click is one
    if (name === "news") return start(list, list.url);
    if (name === "older") more(list);
    else if (control.closest("nav")) choose(list, control);
    else return;
    event.preventDefault();
  },

  /** A middle click follows a link too. */
  auxclick({ target, button }) {
    if (button === 1 && target.closest("a[data-f=title]")) follow(list, target);
  },

  submit(event) {
    event.preventDefault();
    submit(list, event.submitter);
  },

  keydown(event) {
    if (press(event, liveEntriesOf(list), list.element.find("[part=keys]"))) event.preventDefault();
  },

  /** Replace nothing while a pointer is down: a button that is removed between press and release gets no click. */
  pointerdown({ button }) {
    if (button) return; // a menu may swallow the release
    const over = new AbortController();
    list.released = new Promise((done) => {
      const up = () => {
        over.abort();
        setTimeout(done); // the click comes first
      };
      for (const type of ["pointerup", "pointercancel"])
        addEventListener(type, up, { capture: true, signal: over.signal });
    });
  },

  pointerleave: release,

  focusout({ relatedTarget }) {
    if (!list.root.contains(relatedTarget)) release();
  },
});
