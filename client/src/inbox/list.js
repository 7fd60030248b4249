import { compare } from "../position.js";
import { Part } from "./elements.js";
import { hold, isHeldAt } from "./hold.js";
import { focusOn, press } from "./keys.js";
import { morph } from "./morph.js";
import { here, request, whyLost } from "./request.js";
import { soon } from "./soon.js";
import { count, isAhead, isUncounted, LATER, take } from "./store.js";
import { showTimes } from "./times.js";

/** How many entries a page has, and the most that are fetched at once. */
const PAGE = 20;
const MOST = 100;

/** How many more entries are fetched than are listed, for those that have come since. */
const SPARE = 5;

/** The addresses of pictures that did not come. @type {Set<string>} */
const broken = new Set();

/** The list. Its forms and links work without scripts; with scripts, they work without leaving the page. */
export class List extends Part {
  /** How many loads have begun, and which load is shown: answers may come in another order. */
  begun = 0;
  shown = 0;
  /** How many changes are on their way. Each waits for the one before it. */
  pending = 0;
  changed = Promise.resolve();
  /** The query's further part: the change that the page offers to undo. */
  extra = "";
  /** Why there is an error: `load`, `mark`, `login` or `reader`. */
  why = "";

  /** The address of the page that is to be listed, and of the one that is. @type {any} */
  url;
  /** @type {any} */
  shownUrl;
  /** Called when the page that is to be listed shows, or could not be fetched. @type {(() => void) | undefined} */
  started;

  begin() {
    this.url = this.shownUrl = (this.form ?? this).dataset.url;
    for (const type of ["pointerdown", "auxclick", "focusout"]) this.root.addEventListener(type, this);
    this.addEventListener("pointerleave", this); // it does not bubble, so a shadow tree's root never gets it
    const drop = (/** @type {any} */ { target: picture }) => {
      broken.add(picture.src);
      picture.remove(); // the sign is behind it
    };
    this.root.addEventListener("error", drop, true);
    for (const picture of this.root.querySelectorAll("img")) {
      if (picture.complete && !picture.naturalWidth) drop({ target: picture }); // it failed before this script came
    }
    if (!this.form) return;
    this.prepare(this.root);
    this.ready();
  }

  get form() {
    return this.find("form");
  }

  /** The entries that show, the newest first. @returns {any[]} */
  get entries() {
    return [...this.root.querySelectorAll("li:not([hidden])")];
  }

  isVisible() {
    return !document.hidden && !!this.getClientRects()[0];
  }

  /** Return whether the list leaves out new notifications: it shows one category, or the archive. */
  isPartial() {
    const fields = new FormData(this.form);
    return !!fields.get("category") || fields.get("tab") === "archived";
  }

  /** Return whether new notifications show in this list. */
  isListing() {
    return this.isVisible() && this.form && !this.isPartial();
  }

  age() {
    if (this.form) showTimes(this.root, this.form.dataset.lang);
  }

  /** @param {any} event */
  on_click(event) {
    const { target, detail, ctrlKey, metaKey } = event;
    const control = target.closest("a,button");
    const name = control?.dataset.f;
    if (name === "title" && control.href) return this.follow(control.closest("li"));
    if (!control || ctrlKey || metaKey) return;
    if (detail > 1 && control.type === "submit") return event.preventDefault(); // a double click is one
    if (name === "older") this.more(event);
    else if (name === "again") this.doAgain(event);
    else if (name === "news") this.start(this.url);
    else if (control.closest("nav")) {
      event.preventDefault();
      this.start(control.getAttribute("href"));
    }
  }

  /** Try again, or reload the page for the user who is logged in now. @param {Event} event */
  doAgain(event) {
    if (this.why === "login") return; // the link leads there
    event.preventDefault();
    if (this.why === "reader") location.reload();
    else this.again?.();
  }

  /** A middle click follows a link too. @param {any} event */
  on_auxclick({ target, button }) {
    const link = button === 1 && target.closest("a[data-f=title]");
    if (link) this.follow(link.closest("li"));
  }

  /**
   * Mark an entry as read because its link is followed. The page may go, so nothing waits for the answer.
   *
   * @param {any} entry
   */
  follow(entry) {
    const button = entry.querySelector("[data-unread] [data-f=read]");
    if (!button) return;
    navigator.sendBeacon(here(button.formAction), new FormData(this.form, button));
    this.paint(entry, false);
  }

  /**
   * Replace nothing while a pointer is down: a button that is removed between press and release gets no click.
   *
   * @param {PointerEvent} event
   */
  on_pointerdown({ button }) {
    if (button) return; // a menu may swallow the release
    const over = new AbortController();
    this.released = new Promise((done) => {
      const release = () => {
        over.abort();
        setTimeout(done); // the click comes first
      };
      for (const type of ["pointerup", "pointercancel"])
        addEventListener(type, release, { capture: true, signal: over.signal });
    });
  }

  on_pointerleave() {
    if (this.find("[data-f=news]:not([hidden]),li[inert]")) this.refresh(0);
  }

  /** @param {any} event */
  on_focusout({ relatedTarget }) {
    if (!this.root.contains(relatedTarget)) this.on_pointerleave();
  }

  /** @param {any} event */
  on_keydown(event) {
    if (press(event, this.entries, this.find("[part=keys]"))) event.preventDefault();
  }

  /** @param {any} event */
  async on_submit(event) {
    event.preventDefault();
    const { submitter } = event;
    const { name, value, formAction, dataset } = submitter;
    const one = submitter.closest("li");
    if (!one && name !== "version" && this.url !== this.shownUrl) {
      await this.starting; // the button acts on the list that is on its way
      if (this.url === this.shownUrl) this.find(`[data-f=${dataset.f}]:not([hidden])`)?.click();
      return;
    }
    const body = new FormData(this.form, submitter);
    const entries = name === "upto" ? this.entries.filter(({ dataset: { id } }) => compare(id, value) <= 0) : [one];
    this.change(formAction, body, dataset.then, entries.filter(Boolean));
  }

  /**
   * Change some entries: here at once, and on the server as soon as the changes before it are made. Take it back here if
   * the server does not take it.
   *
   * @param {string} url
   * @param {FormData} body
   * @param {string | undefined} then  the query's name under which the page offers to undo the change
   * @param {any[]} entries
   */
  change(url, body, then, entries) {
    const turn = {};
    const before = entries.map((entry) => [entry, "unread" in entry.dataset]);
    for (const entry of entries) entry.turn = turn;
    const action = url.split("/").at(-2);
    const isGone = action?.endsWith("archive") || (action === "read" && body.get("tab") === "unread");
    const all = this.entries;
    const focused = all.find((entry) => entry.contains(this.root.getRootNode().activeElement));
    this.keepFocus(() => {
      for (const entry of entries) {
        entry.hidden = isGone;
        this.paint(entry, action === "unread");
      }
      if (focused?.hidden) {
        const place = all.indexOf(focused);
        focusOn([...all.slice(place), ...all.slice(0, place).reverse()].find(({ hidden }) => !hidden));
      }
      this.find("[part=undo]")?.remove();
      this.extra = "";
      this.fail("");
    });
    this.pending += 1;
    this.form.setAttribute("aria-busy", "true");
    this.changed = this.changed.then(async () => {
      const token = "csrfmiddlewaretoken"; // a login in another tab makes a new one
      body.set(token, `${new FormData(this.form).get(token)}`);
      const said = await request(url, body);
      this.pending -= 1;
      this.shown = ++this.begun; // a load that began before this change does not know it
      if (said) {
        take(said);
        if (then && said.changed) this.extra = `&${then}=${said.version}`;
      } else {
        for (const [entry, isUnread] of before) {
          if (entry.turn !== turn) continue; // a later change of it is on its way
          entry.hidden = false;
          this.paint(entry, isUnread);
        }
        this.again = async () => {
          await this.load(); // with a new token, if that was why
          this.change(url, body, then, entries);
        };
        this.fail("mark");
      }
      if (!this.pending) {
        this.form.removeAttribute("aria-busy");
        this.isOwn = true;
        this.load();
      }
    });
  }

  /** Return whether something in the list has the focus and can keep it. */
  focused() {
    const { activeElement } = this.root.getRootNode();
    return this.root.contains(activeElement) && !activeElement.closest("[hidden],[inert]");
  }

  /**
   * Do something that may take away what has the focus. If it does, the current tab has it.
   *
   * @param {() => void} work
   */
  keepFocus(work) {
    const had = this.focused();
    work();
    if (had && !this.focused()) this.find("[aria-current=page]")?.focus({ preventScroll: true });
  }

  /**
   * Show an entry as unread, or as read; its button does the opposite.
   *
   * @param {any} entry
   * @param {boolean} isUnread
   */
  paint(entry, isUnread) {
    entry.toggleAttribute("data-unread", isUnread);
    const button = entry.querySelector("[part=actions] [data-f=read]");
    if (button) button.formAction = button.formAction.replace(/\w+\/$/, isUnread ? "read/" : "unread/");
  }

  /** Show why something failed, or that nothing does. @param {string} why */
  fail(why) {
    const error = this.find(".error");
    this.why = whyLost() || why;
    error.hidden = !this.why;
    for (const part of error.children) part.textContent = part.dataset[this.why];
  }

  /**
   * Hide the entries while another user, or nobody, is logged in. Show them again when there is no reason to hide them.
   *
   * @param {string} why
   */
  lose(why) {
    if (this.form) this.form.hidden = !!why;
    this.fail(why);
    if (!why) this.refresh(0);
  }

  /** Ask for a part of the list, and show an error if it does not come. @param {string} url */
  async ask(url) {
    const page = await request(url, null, "document");
    if (!page && !this.why) {
      this.again = () => this.load();
      this.fail("load");
    } else if (page && this.why === "load") this.fail("");
    if (page) this.prepare(page);
    return page;
  }

  /** Fetch the list anew soon, if it is visible. */
  refresh = soon(() => this.isVisible() && this.load());

  /** Show a page of the list from its beginning, with all that is new. @param {string} url */
  start(url) {
    this.url = url;
    this.extra = "";
    this.isStart = true;
    this.starting = new Promise((done) => {
      this.started = () => done(null);
    });
    this.load();
  }

  /** The panel has closed. */
  close() {
    this.extra = "";
    this.find("[part=undo]")?.remove();
    if (this.why === "mark") this.fail("");
    if (this.form) this.see();
  }

  /**
   * Fetch the entries that are listed, and what is new.
   *
   * @returns {Promise<void>}
   */
  async load() {
    const turn = ++this.begun;
    const { url, extra, isStart, entries } = this;
    const isHeld = !isStart && isHeldAt(this.find("ul"));
    const limit = Math.max(PAGE, entries.length + (isHeld ? SPARE : 0));
    const page = await this.gather(
      `${url + extra}&limit=${Math.min(MOST, limit)}`,
      isHeld && entries.at(-1)?.dataset.id,
    );
    await this.released;
    if (!page) this.started?.();
    if (!page || this.pending || turn < this.shown || url !== this.url || extra !== this.extra) return;
    if (this.entries.length > entries.length || (!isStart && !isHeld && isHeldAt(this.find("ul"))))
      return this.load();
    this.shown = turn;
    this.shownUrl = url;
    const form = page.forms[0];
    const news = isHeld ? hold(form, this.entries, this.upto, !!this.isOwn) : 0;
    if (!news) this.upto = form.dataset.position;
    const pill = form.querySelector("[data-f=news]");
    if (news && pill) {
      pill.hidden = false;
      pill.textContent = pill.dataset.many.replace("%s", news);
    }
    this.keepFocus(() => {
      if (this.form) morph(this.form, form);
      else this.find(".empty").replaceWith(form);
    });
    if (isStart) this.toStart();
    this.isStart = this.isOwn = false;
    this.started?.();
    if (isAhead(form.dataset.position)) this.refresh(LATER); // the inbox does not hold it yet
    if (isHeld && !isHeldAt(this.find("ul"))) this.refresh(0); // the pointer has left meanwhile
    this.age();
    this.ready();
  }

  /** Scroll to where the list begins. */
  toStart() {
    const panel = this.closest("[part~=panel]");
    if (panel) panel.scrollTop = 0;
    else if (this.getBoundingClientRect().top < 0) this.scrollIntoView();
  }

  /**
   * Fetch a page of the list, and the pages after it down to an entry.
   *
   * @param {string} url
   * @param {string} [oldest]  the entry's id
   * @returns {Promise<any>}
   */
  async gather(url, oldest) {
    const page = await this.ask(url);
    const older = page && oldest && page.querySelector("a[rel]");
    if (!older) return page;
    const entries = [...page.querySelectorAll("li")];
    if (compare(entries.at(-1).dataset.id, oldest) > 0) {
      const rest = await this.gather(`${older.href}&limit=${MOST}`, oldest);
      return rest && this.join(page, rest);
    }
    for (const entry of entries) if (compare(entry.dataset.id, oldest) < 0) entry.remove();
    older.href = older.href.replace(/before=[^&]*/, `before=${oldest}`);
    return page;
  }

  /** Add the entries of a page, and its link to older ones, to those before it. @param {any} page @param {any} rest */
  join(page, rest) {
    const has = (/** @type {any} */ entry) => page.querySelector(`[data-key="${entry.dataset.key}"]`);
    for (const entry of rest.querySelectorAll("li")) if (!has(entry)) page.querySelector("ul").append(entry);
    page.querySelector("a[rel]").replaceWith(rest.querySelector("a[rel]") ?? "");
    return page;
  }

  /** Set up the current form. If its entries are visible, they are seen. */
  ready() {
    this.upto ??= this.form.dataset.position;
    this.grown();
    if (this.isVisible()) this.see();
  }

  /** Mark the entries as seen that have been shown, unless new ones are left out. */
  see() {
    const newest = this.entries[0]?.dataset.id; // its event may still be on the way
    if (this.isPartial() || !(count("unseen") || (newest && isUncounted(newest)))) return;
    const body = new FormData(this.form);
    body.set("upto", this.upto);
    body.delete("tab");
    body.delete("category"); // there is none
    request(this.form.dataset.seen, body).then(take);
  }

  /** Set up entries: the things that only scripts can do, and one stop for each entry. @param {any} root */
  prepare(root) {
    showTimes(root, root.querySelector("form").dataset.lang);
    const keys = root.querySelector("[part=keys]");
    if (keys) keys.hidden = false;
    for (const control of root.querySelectorAll("[part=actions] button,li summary")) control.tabIndex = -1;
    for (const picture of root.querySelectorAll("img")) if (broken.has(picture.src)) picture.remove();
  }

  /** Set up the link to older entries. */
  grown() {
    this.observer?.disconnect();
    const older = this.find("a[rel]");
    if (!older) return;
    this.observer = new IntersectionObserver((told) => {
      // a busy browser tells of several moments at once
      if (told.some(({ isIntersecting }) => isIntersecting)) this.more();
    });
    this.observer.observe(older);
  }

  /** @param {Event} [event] */
  async more(event) {
    event?.preventDefault();
    this.observer?.disconnect();
    const older = this.find("a[rel]");
    if (!older) return; // another load has removed it
    const { shown } = this;
    const page = await this.ask(older.href);
    if (!page) return;
    if (this.shown !== shown || !older.isConnected) return this.grown(); // it belongs to what was listed before
    this.join(this.root, page);
    this.grown();
  }
}
