/** What this page has received, to compare with what the shop's table says it should have. */

const FURTHEST_BACK = 1500;

export class Book {
  repeated = 0;
  #ids = new Set();
  #numbers = new Set();
  #start;

  /**
   * @param {string} url  where the shop tells the numbers of its movements
   * @param {number} latest  the number of the last movement when the page was made
   */
  constructor(url, latest) {
    this.url = url;
    this.upto = this.#start = latest;
  }

  /** Return how many movements came. A parcel that is edited or cleared away does not move. */
  get received() {
    return this.#numbers.size;
  }

  /** Note an event. */
  add({ id, data }) {
    if (this.#ids.has(id)) this.repeated += 1;
    this.#ids.add(id);
    if (data.movement > this.#start) this.#numbers.add(data.movement);
    this.upto = Math.max(this.upto, data.movement);
  }

  /** Return the numbers of the movements after one, up to another or to the last there is. */
  async expected(after, upto = "") {
    const answer = await fetch(`${this.url}?after=${after}&upto=${upto}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(`the shop answered ${answer.status}`);
    return (await answer.json()).numbers;
  }

  /** Return those of some numbers that did not come. */
  missing(numbers) {
    return numbers.filter((number) => !this.#numbers.has(number));
  }

  /** Compare; return how many movements the page should have heard of, and how many it did not. */
  async check() {
    const expected = await this.expected(Math.max(this.#start, this.upto - FURTHEST_BACK), this.upto);
    return { expected: expected.length, missed: this.missing(expected).length };
  }
}
