import { Part } from "./elements.js";
import { request } from "./request.js";
import { count, isAhead, LATER, take } from "./store.js";
import { showTimes } from "./times.js";

/** How many entries a page has, and the most that are fetched at once. */
const PAGE = 20;
const MOST = 100;

/** The list. Its forms and links work without scripts; with scripts, they work without leaving the page. */
export class List extends Part {
  /** How many loads have begun, and which load is shown: answers may come in another order. */
  begun = 0;
  shown = 0;
  /** Whether the last change failed and its error still shows. */
  failed = false;

  begin() {
    /** The address of the listed page. */
    this.url = (this.form ?? this).dataset.url;
    this.root.addEventListener("pointerdown", this);
    if (this.form) this.ready();
  }

  get form() {
    return this.find("form");
  }

  /** How many entries to fetch, so that the listed ones stay. */
  get limit() {
    return Math.min(MOST, Math.max(PAGE, this.root.querySelectorAll("li").length));
  }

  isVisible() {
    return !document.hidden && this.checkVisibility();
  }

  age() {
    if (this.form) showTimes(this.root, this.form.dataset.lang);
  }

  /** @param {any} event */
  on_click(event) {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey) return;
    const button = link.closest("[data-unread]")?.querySelector("button");
    if (button)
      navigator.sendBeacon(button.formAction, new FormData(this.form, button)); // the page may go
    else if (link.rel) this.more(event);
    else if (link.closest("nav,.error")) {
      event.preventDefault();
      this.failed = false;
      this.load(link.href);
    }
  }

  /**
   * Replace nothing while a pointer is down: a button that is removed between press and release gets no click.
   *
   * @param {PointerEvent} event
   */
  on_pointerdown({ button }) {
    if (button) return; // a menu may swallow the release
    this.released = new Promise((done) => {
      for (const type of ["pointerup", "pointercancel"])
        addEventListener(type, () => setTimeout(done), { once: true, capture: true }); // the click comes first
    });
  }

  /** @param {any} event */
  async on_submit(event) {
    event.preventDefault();
    const { submitter } = event;
    const said = await this.ask(submitter.formAction, new FormData(this.form, submitter));
    if (!said) return;
    take(said);
    this.load(this.url, `&${submitter.dataset.then}=${said.version}`);
  }

  /**
   * Ask the server, and show an error if it does not answer. A later fetch does not hide the error of a failed change.
   *
   * @param {string} url
   * @param {FormData | null} [body]
   * @param {XMLHttpRequestResponseType} [type]
   */
  async ask(url, body, type) {
    const answer = await request(url, body, type);
    if (body) this.failed = !answer;
    this.find(".error").hidden = answer && !this.failed;
    return answer;
  }

  /**
   * Fetch the list anew soon, if it is visible.
   *
   * @param {number} [wait]  milliseconds
   */
  refresh(wait = 30) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.isVisible() && this.load(this.url, this.extra), wait);
  }

  /**
   * Fetch the first entries, as many as the list has now.
   *
   * @param {any} url
   * @param {string} [extra]  a further part of the query
   * @returns {Promise<void>}
   */
  async load(url, extra = "") {
    const turn = ++this.begun;
    this.url = url;
    this.extra = extra;
    const { limit } = this;
    const page = await this.ask(`${url + extra}&limit=${limit}`, null, "document");
    await this.released;
    if (!page || turn < this.shown || this.url + this.extra !== url + extra) return; // a newer load replaced it
    if (limit < this.limit) return this.load(url, extra); // older entries were added meanwhile; keep them
    this.shown = turn;
    const active = this.root.getRootNode().activeElement;
    const place = active?.dataset.f;
    const key = active?.closest("li")?.dataset.key;
    this.find("form,.empty").replaceWith(page.forms[0]);
    this.ready();
    if (isAhead(this.form.dataset.position)) this.refresh(LATER); // the inbox does not hold it yet
    if (place) (this.find(`${key ? `[data-key="${key}"] ` : ""}[data-f="${place}"]`) ?? this.find("nav a")).focus();
  }

  /** Set up the current form, and mark its entries as seen if they are visible. */
  ready() {
    const { form } = this;
    this.grown();
    if (!this.isVisible() || !count("unseen")) return;
    const body = new FormData(form);
    body.set("upto", form.dataset.position);
    request(form.dataset.seen, body).then(take);
  }

  /** Set up the current entries: their times, and the link to older ones. */
  grown() {
    this.age();
    const older = this.find("a[rel]");
    if (!older) return;
    new IntersectionObserver((told, observer) => {
      if (!told.some(({ isIntersecting }) => isIntersecting)) return; // a busy browser tells of several moments at once
      observer.disconnect();
      if (older.isConnected) this.more();
    }).observe(older);
  }

  /** @param {Event} [event] */
  async more(event) {
    event?.preventDefault();
    const older = this.find("a[rel]");
    const page = await this.ask(older.href, null, "document");
    if (!page || !older.isConnected) return;
    this.find("ul").append(...page.querySelectorAll("li"));
    older.replaceWith(page.querySelector("a[rel]") ?? "");
    this.grown();
  }
}
