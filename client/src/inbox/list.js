import { fetchModule } from "../modules.js";
import { soon } from "../soon.js";
import { Part } from "./elements.js";
import { here, lost, reader, request } from "./request.js";
import { catchUp, count, isUncounted, take } from "./store.js";
import { findTag } from "./tag.js";

const inbox = { catchUp, count, here, isUncounted, request, take };

/** The module that does what lists do: there, or on its way. @type {Promise<typeof import("../list/main.js")> | undefined} */
let module;

/** Return the module, or nothing if it did not come: then the next call tries again. */
const load = async () => {
  try {
    module ??= fetchModule(() => findTag().dataset.list);
    return await module;
  } catch {
    module = undefined;
  }
};

/**
 * The list. Its code comes with its first use: at once where entries show, in a bell when the panel is about to open.
 * Until then, its links and forms work as they do without scripts.
 */
export class List extends Part {
  /** The list's code. @type {ReturnType<typeof import("../list/main.js").createList> | undefined} */
  work;
  /** Whether the entries of its first form may be old. */
  isOld = false;
  /** Why there is an error: `load`, `mark`, `login` or `reader`. */
  why = "";
  /** Tries again what has failed. @type {(() => void) | undefined} */
  again;
  /** Each repeats a change that has failed, as long as an error says so. @type {(() => void)[]} */
  failed = [];

  /** Fetch the entries anew soon. */
  refresh = soon(() => {
    if (this.work) return this.work.renew();
    this.isOld = true;
    this.begin();
  });

  begin() {
    if (this.form) this.prepare();
  }

  get form() {
    return this.find("form");
  }

  /** Load the list's code, unless it is there. */
  async prepare() {
    const module = await load();
    if (!module || this.work) return;
    this.work = module.createList(this, inbox);
    if (this.isOld && this.form) this.work.renew();
  }

  /** The panel has opened: show the list from its beginning. */
  async start() {
    await this.prepare();
    if (!this.work) {
      this.again = this.start;
      return this.fail("load");
    }
    if (this.why === "load") this.fail("");
    if (this.getClientRects()[0]) this.work.start(this.dataset.url ?? ""); // else the panel has closed meanwhile
  }

  /** The panel has closed. */
  close() {
    this.work?.close();
  }

  isListing() {
    return this.work?.isListing();
  }

  age() {
    this.work?.age();
  }

  /** @param {any} event */
  on_click(event) {
    const { target, ctrlKey, metaKey } = event;
    if (!target.closest("[data-f=again]") || ctrlKey || metaKey) return;
    if (this.why === "login") return; // the link leads there
    event.preventDefault();
    if (this.why === "reader") location.reload();
    else this.again?.();
  }

  /** Show why something failed, or that nothing does. @param {string} why */
  fail(why) {
    const error = this.find(".error");
    this.why = lost || why;
    if (!this.why) this.failed = [];
    error.hidden = !this.why;
    for (const part of error.children) part.textContent = part.dataset[this.why];
  }

  /**
   * Hide the entries while another user, or nobody, is logged in. Show the reader's own again when there is no reason to
   * hide them, and fetch them anew.
   *
   * @param {string} why
   */
  lose(why) {
    if (this.form) this.form.hidden = why || this.form.dataset.reader !== reader;
    if (why || /login|reader/.test(this.why)) this.fail(why);
    if (!why) this.refresh(0);
  }
}
