/**
 * A member who is there, as others see it.
 *
 * @typedef {{id: string, info: any, state: any, connections: number, since: string | null}} Member
 *
 * @typedef {object} RoomOptions
 * @property {string} url  where livepush is mounted, for example `/livepush/`
 * @property {EventTarget} [target]  where the client dispatches its events
 * @property {() => Record<string, string> | Promise<Record<string, string>>} [headers]  returns what goes with requests,
 *   such as `X-CSRFToken` or `Authorization`
 *
 * @typedef {ReturnType<typeof openRoom>} Room
 */

/** How long to gather what the page says of its member, and to wait before another attempt, in milliseconds. */
const SOON = 300;
const LATER = 2000;

/** @param {string} position  it ends with its number */
const numberOf = (position) => +(/** @type {any} */ (/\d+$/.exec(position)));

/** The rooms that the page follows. @type {Set<{group: string}>} */
const open = new Set();

/**
 * Follow who is there in a group: begin with a snapshot at a position, and go on with the events after it.
 *
 * @param {any} client
 * @param {string} group
 * @param {RoomOptions} options
 */
export const openRoom = (client, group, { url, target = document, headers }) => {
  /** @type {Map<string, Member>} */
  let known = new Map();
  /** @type {Set<(members: Member[]) => void>} */
  const listeners = new Set();
  const ending = new AbortController();
  const { signal } = ending;
  /**
   * The snapshot's position; `null` while it is fetched, empty if the group may not be read. And the events that came
   * meanwhile. @type {any}
   */
  let upto;
  /** @type {any[]} */
  let early = [];
  let loads = 0;
  /** @type {any} */
  let poster;
  /** Done when all is said that was to be: one thing after the other. */
  let posted = Promise.resolve();
  /** The state that the page has set for its member, and the member's id. @type {any} */
  let state;
  /** @type {string | undefined} */
  let me;

  const tell = () => {
    for (const listener of listeners) listener(room.members);
  };

  /** @param {any} event */
  const apply = ({ id, type, data }) => {
    // another epoch's position comes with a reset, which loads anew
    if (!upto || !(numberOf(id) > numberOf(upto))) return;
    for (const member of data.members) {
      if (/leave$/.test(type)) known.delete(member.id);
      else known.set(member.id, member);
      if (/join$/.test(type) && member.id === me) say();
    }
  };

  /** @param {any} event */
  const take = ({ detail }) => {
    if (!/^presence\./.test(detail.type) || !(detail.groups ?? [detail.group]).includes(group)) return;
    if (upto) {
      apply(detail);
      return tell();
    }
    early.push(detail);
    if (upto === "") load(); // it may be read now
  };

  /** Fetch the members, or post something. @param {string} [body] */
  const ask = async (body) =>
    fetch(
      new URL(`${url}presence/?group=${encodeURIComponent(group)}`, location.href),
      /** @type {any} */ ({ signal, headers: await headers?.(), method: body && "POST", body }),
    );

  const load = async () => {
    const mine = ++loads;
    upto = null;
    try {
      const response = await ask();
      const { position, members } = response.status === 403 ? { position: "", members: [] } : await response.json();
      if (mine !== loads) return;
      known = new Map(members.map((/** @type {Member} */ member) => [member.id, member])); // throws where there are none
      upto = position;
      early.forEach(apply);
      early = [];
      tell();
    } catch {
      if (mine === loads) setTimeout(load, LATER * (1 + Math.random()));
    }
  };

  const post = async () => {
    try {
      const response = await ask(JSON.stringify({ group, state }));
      if (/4[02]9|5../.test(/** @type {any} */ (response.status))) throw 0; // not joined yet, too much said, or a deploy
      if (response.ok) me = (await response.json()).id;
    } catch {
      say(LATER);
    }
  };

  const say = (wait = SOON) => {
    clearTimeout(poster);
    poster =
      state &&
      setTimeout(() => {
        posted = posted.then(post);
      }, wait);
  };

  const room = {
    group,

    /** The members, the first who came first. */
    get members() {
      return [...known.values()];
    },

    /**
     * Call a function with the members whenever they change, and now if they are known; return its undo function.
     *
     * @param {"change"} _type
     * @param {(members: Member[]) => void} listener
     */
    on(_type, listener) {
      listeners.add(listener);
      if (upto) listener(room.members);
      return () => listeners.delete(listener);
    },

    /** Say something of this page's member, such as `{away: true}`, which others see as its `state`. @param {object} said */
    update(said) {
      state = said;
      say();
    },

    /** Follow no longer, and leave the group, unless a tag of the page or another room has it. */
    leave() {
      ending.abort();
      loads = Number.NaN; // none is the newest any more
      state = null;
      open.delete(room);
      for (const each of open) if (each.group === group) return;
      if (!document.querySelector(`script[data-groups*=${CSS.escape(`"${group}"`)}]`)) client.remove([group]);
    },
  };

  target.addEventListener("livepush:event", take, { signal });
  target.addEventListener("livepush:reset", load, { signal });
  target.addEventListener("livepush:revoked", load, { signal });
  open.add(room);
  client.add([group]);
  if (document.readyState === "complete") client.start(); // else the page's other scripts come first
  load();
  return room;
};
