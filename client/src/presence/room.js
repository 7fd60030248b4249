import { isAfter } from "../position.js";

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

/**
 * Follow who is there in a group: begin with a snapshot at a position, and go on with the events after it.
 *
 * @param {any} client
 * @param {string} group
 * @param {RoomOptions} options
 */
export const openRoom = (client, group, { url, target = document, headers = () => ({}) }) => {
  /** @type {Map<string, Member>} */
  const known = new Map();
  /** @type {Set<(members: Member[]) => void>} */
  const listeners = new Set();
  const ending = new AbortController();
  const { signal } = ending;
  /** The snapshot's position, and the events that came while it was fetched. @type {any} */
  let upto;
  /** @type {any[]} */
  let early = [];
  /** @type {any} */
  let timer;
  /** @type {any} */
  let poster;
  /** The state that the page has set for its member, and the member's id. @type {any} */
  let state;
  /** @type {string | undefined} */
  let me;

  const tell = () => {
    for (const listener of listeners) listener(room.members);
  };

  /** @param {any} event */
  const apply = ({ id, type, data }) => {
    if (!isAfter(id, upto)) return;
    for (const member of data.members) {
      if (type.endsWith("leave")) known.delete(member.id);
      else known.set(member.id, member);
      if (type.endsWith("join") && member.id === me) say();
    }
  };

  /** @param {any} event */
  const take = ({ detail }) => {
    if (!(detail.groups ?? [detail.group]).includes(group)) return;
    if (!upto) return early.push(detail);
    apply(detail);
    tell();
  };

  /** @param {string} query @param {RequestInit} [more] */
  const ask = async (query, more) => {
    const given = await headers();
    return fetch(new URL(`${url}presence/${query}`, location.href), {
      signal,
      ...more,
      headers: { ...given, "content-type": "application/json" },
    });
  };

  const load = async () => {
    clearTimeout(timer);
    upto = null;
    try {
      const response = await ask(`?${new URLSearchParams({ group })}`);
      const { position, members } = response.status === 403 ? { members: [] } : await response.json();
      if (!members) throw 0;
      upto = position;
      known.clear();
      for (const member of members) known.set(member.id, member);
      for (const event of early) apply(event);
      early = [];
      tell();
    } catch {
      if (!signal.aborted) timer = setTimeout(load, LATER * (1 + Math.random()));
    }
  };

  const post = async () => {
    try {
      const body = JSON.stringify({ group, state });
      const response = await ask("", { method: "POST", body });
      if (response.ok) me = (await response.json()).id;
      else if ([409, 429].includes(response.status)) throw 0; // it has not joined yet, or said too much
    } catch {
      if (!signal.aborted) say(LATER);
    }
  };

  const say = (wait = SOON) => {
    clearTimeout(poster);
    if (state) poster = setTimeout(post, wait);
  };

  const room = {
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

    /** Follow no longer, and leave the group, unless a tag of the page has it. */
    leave() {
      ending.abort();
      clearTimeout(timer);
      clearTimeout(poster);
      for (const { dataset } of /** @type {any} */ (document.querySelectorAll("script[data-groups]"))) {
        if (dataset.groups.includes(`"${group}"`)) return;
      }
      client.remove([group]);
    },
  };

  for (const type of ["join", "leave", "update"]) {
    target.addEventListener(`livepush:event:presence.${type}`, take, { signal });
  }
  for (const type of ["reset", "revoked"]) target.addEventListener(`livepush:${type}`, load, { signal });
  client.add([group]);
  if (document.readyState === "complete") client.start(); // else the page's other scripts come first
  load();
  return room;
};
