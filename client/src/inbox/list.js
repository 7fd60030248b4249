import { Part } from "./elements.js";
import { request } from "./request.js";
import { count, isAhead, LATER, take } from "./store.js";
import { showTimes } from "./times.js";

/** How many entries a page has, and the most that are fetched at once. */
const PAGE = 20;
const MOST = 100;

/** The list: its forms and links work by themselves, and without leaving the page where there are scripts. */
export class List extends Part {
  /** How many loads have begun, and the latest whose answer is shown: answers may come in another order. */
  begun = 0;
  shown = 0;
  /** Whether the last change failed, and nobody has gone on since. */
  failed = false;

  begin() {
    /** What is listed. */
    this.url = (this.form ?? this).dataset.url;
    this.root.addEventListener("pointerdown", this);
    if (this.form) this.ready();
  }

  get form() {
    return this.find("form");
  }

  /** How many entries to fetch, so that those that are here stay. */
  get limit() {
    return Math.min(MOST, Math.max(PAGE, this.root.querySelectorAll("li").length));
  }

  isVisible() {
    return !document.hidden && this.checkVisibility();
  }

  age() {
    showTimes(this.root);
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

  /** While a pointer is down nothing is replaced: a button that goes between press and release is never clicked. */
  on_pointerdown() {
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
   * Ask the server; say so where it does not answer. A list that is fetched well does not hide that a change failed.
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
   * Fetch it anew soon, if somebody looks.
   *
   * @param {number} [wait]  milliseconds
   */
  refresh(wait = 30) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.isVisible() && this.load(this.url, this.extra), wait);
  }

  /**
   * Fetch its first entries: as many as there are now.
   *
   * @param {any} url
   * @param {string} [extra]  what is asked for besides
   * @returns {Promise<void>}
   */
  async load(url, extra = "") {
    const turn = ++this.begun;
    this.url = url;
    this.extra = extra;
    const { limit } = this;
    const page = await this.ask(`${url + extra}&limit=${limit}`, null, "document");
    await this.released;
    if (!page || turn < this.shown || this.url + this.extra !== url + extra) return; // what is wanted by now is newer
    if (limit < this.limit) return this.load(url, extra); // older ones were added meanwhile, and are to stay
    this.shown = turn;
    const active = this.root.getRootNode().activeElement;
    const place = active?.dataset.f;
    const key = active?.closest("li")?.dataset.key;
    this.find("form,.empty").replaceWith(page.forms[0]);
    this.ready();
    if (isAhead(this.form.dataset.position)) this.refresh(LATER); // it has not been filed yet
    if (place) (this.find(`${key ? `[data-key="${key}"] ` : ""}[data-f="${place}"]`) ?? this.find("nav a")).focus();
  }

  /** Take up the form that there is now. */
  ready() {
    const { form } = this;
    this.grown();
    if (!this.isVisible() || !count("unseen")) return;
    const body = new FormData(form);
    body.set("upto", form.dataset.position);
    request(form.dataset.seen, body).then(take);
  }

  /** Take up entries that there are now. */
  grown() {
    showTimes(this.root);
    const older = this.find("[rel]");
    if (!older) return;
    new IntersectionObserver(([entry], observer) => {
      if (!entry?.isIntersecting) return;
      observer.disconnect();
      if (older.isConnected) this.more();
    }).observe(older);
  }

  /** @param {Event} [event] */
  async more(event) {
    event?.preventDefault();
    const older = this.find("[rel]");
    const page = await this.ask(older.href, null, "document");
    if (!page || !older.isConnected) return;
    this.find("ul").append(...page.querySelectorAll("li"));
    older.replaceWith(page.querySelector("[rel]") ?? "");
    this.grown();
  }
}
