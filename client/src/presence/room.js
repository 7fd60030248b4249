/**
 * A member who is there, as others see it.
 *
 * @typedef {{id: string, info: any, state: any, connections: number, since: string | null}} Member
 *
 * @typedef {object} RoomOptions
 * @property {string} url  where livepush is mounted, for example `/livepush/`
 * @property {EventTarget} [target]  where the client dispatches its events
 * @property {() => Record<string, string> | Promise<Record<string, string>>} [headers]  returns what goes with requests,
 *   such as `Authorization`
 *
 * @typedef {ReturnType<typeof openRoom>} Room
 */

/**
 * How long to gather what the page says of its member, in milliseconds. Each time that it is not taken, the next wait is
 * four times as long, until one is long.
 */
const SOON = 300;
const LONG = 30_000;
/** How long to wait before the members are asked for again, in milliseconds. */
const LATER = 2000;

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
  /** The functions to call, by the one name that there is. @type {Record<"change", Set<(members: Member[]) => void>>} */
  const listeners = { change: new Set() };
  const ending = new AbortController();
  const { signal } = ending;
  /**
   * The snapshot's position; `null` while it is fetched, empty if the group may not be read. And the events that came
   * meanwhile; none before it is fetched. @type {any}
   */
  let upto;
  /** @type {any} */
  let early;
  /** How long to wait before anything is said of the page's member: longer after each time that it was not taken. */
  let pause = SOON;
  /** @type {any} */
  let poster;
  /** Done when all is said that was to be: one thing after the other. @type {any} */
  let posted;
  /** The state that the page has set for its member, the member's id, and since when it is there. @type {any} */
  let state;
  /** @type {any} */
  let me;
  /** @type {any} */
  let joined;

  /** @param {(members: Member[]) => void} listener */
  const call = (listener) => {
    try {
      listener(room.members);
    } catch (error) {
      reportError(error); // as for listeners of events: the others hear it too
    }
  };

  /** Go on with the events that have come after the snapshot, and tell. */
  const proceed = () => {
    for (const event of early.splice(0)) {
      // another epoch's position comes with a reset, which loads anew
      if (!(event.id.split("-")[1] - upto.split("-")[1] > 0)) continue;
      for (const member of event.data.members) {
        if (/leave$/.test(event.type)) known.delete(member.id);
        else known.set(member.id, member);
      }
    }
    const since = me && (known.get(me)?.since ?? "");
    if (since > joined) say(); // the member has left and joined, and has no state any more
    joined = since;
    for (const listener of listeners.change) call(listener);
  };

  /** @param {any} event */
  const take = ({ detail }) => {
    if (!/^presence\./.test(detail.type) || !(detail.groups ?? [detail.group]).includes(group)) return;
    if (upto === "") return load(); // it may be read now
    early?.push(detail);
    if (upto) proceed();
  };

  /** Fetch the members, or post something; return what the server answers. @param {string} [body] @returns {Promise<any>} */
  const ask = async (body) => {
    const response = await fetch(
      new URL(`${url}presence/?${new URLSearchParams({ group })}`, /** @type {any} */ (location)),
      /** @type {any} */ ({ signal, headers: await headers?.(), method: body && "POST", body }),
    );
    if (/9|^5/.test(/** @type {any} */ (response.status))) throw 0; // 409: not joined yet; 429: too much was said; a deploy
    return response.ok ? response.json() : { members: response.status < 404 && [] }; // 401, 403: no right to it
  };

  const load = async () => {
    upto = null;
    early = []; // the snapshot is newer than what came before, which a reset may have made another epoch's
    const mine = early;
    try {
      const snapshot = await ask();
      if (mine === early) {
        known = new Map(snapshot.members.map((/** @type {Member} */ member) => [member.id, member])); // throws where there are none
        upto = snapshot.position ?? "";
        proceed();
      }
    } catch {
      if (mine === early && !signal.aborted) setTimeout(load, LATER * (1 + Math.random()));
    }
  };

  /** @param {unknown} before  when it is done, it is this one's turn */
  const post = async (before) => {
    await before;
    try {
      me = (await ask(JSON.stringify({ group, state }))).id;
      pause = SOON;
    } catch {
      if (pause < LONG) pause *= 4;
      say();
    }
  };

  const say = () => {
    clearTimeout(poster);
    poster =
      state &&
      setTimeout(() => {
        posted = post(posted);
      }, pause);
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
     * @param {"change"} type
     * @param {(members: Member[]) => void} listener
     */
    on(type, listener) {
      listeners[type].add(listener); // throws for another name
      if (upto) call(listener);
      return () => listeners[type].delete(listener);
    },

    /** Say something of this page's member, such as `{away: true}`, which others see as its `state`. @param {object} said */
    update(said) {
      state = said;
      pause = SOON;
      say();
    },

    /** Follow no longer, and leave the group, unless a tag of the page or another room has it. */
    leave() {
      ending.abort();
      state = null;
      open.delete(room);
      for (const each of open) if (each.group === group) return;
      if (!document.querySelector(`script[data-groups*='"${group}"']`)) client.remove([group]);
    },
  };

  /** Load once it is known where the client begins: the snapshot must not be older. */
  const begin = () => (early ? upto === "" && client.state === "open" : client.position) && load();

  begin();
  target.addEventListener("livepush:state", begin, { signal });
  target.addEventListener("livepush:event", take, { signal });
  target.addEventListener("livepush:reset", load, { signal });
  target.addEventListener("livepush:revoked", load, { signal });
  open.add(room);
  client.add([group]);
  // before the page is complete, its other scripts come first
  if (document.readyState === "complete" && client.state === "idle") client.start();
  return room;
};
