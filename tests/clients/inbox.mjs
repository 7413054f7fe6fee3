// Waiting for what comes in its own time, but not for ever.

const WAIT_MS_MAX = 5_000;

/** What a promise resolves to; fails after five seconds, saying what was waited for. */
export function soon(promise, what) {
  let timer;
  const late = new Promise((_, failed) => {
    timer = setTimeout(() => failed(new Error(`waited ${WAIT_MS_MAX} ms for ${what}`)), WAIT_MS_MAX);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What arrives piece by piece, to be taken in order. */
export class Inbox {
  #items = [];
  #waiting = null;

  put(item) {
    this.#items.push(item);
    this.#waiting?.();
  }

  /** The next item; fails after five seconds, saying what was waited for. */
  async next(what = "the next item") {
    return (await this.take(1, what))[0];
  }

  /** The next `count` items. */
  async take(count, what = `${count} items`) {
    const deadline = Date.now() + WAIT_MS_MAX;
    while (this.#items.length < count) {
      await this.#arrival(deadline, () => `waited ${WAIT_MS_MAX} ms for ${what}, and have ${JSON.stringify(this.#items)}`);
    }
    return this.#items.splice(0, count);
  }

  /** All items up to and with the first for which `isLast` holds: whatever came twice is among them. */
  async until(isLast, what = "the last item") {
    const items = [];
    do items.push(await this.next(`${what}, after ${JSON.stringify(items.at(-1))}`));
    while (!isLast(items.at(-1)));
    return items;
  }

  /** Waits until something is there, and leaves it. */
  async arrival(what = "an item") {
    const deadline = Date.now() + WAIT_MS_MAX;
    while (this.#items.length === 0) await this.#arrival(deadline, () => `waited ${WAIT_MS_MAX} ms for ${what}`);
  }

  /** What has arrived and was not taken yet. */
  get rest() {
    return [...this.#items];
  }

  #arrival(deadline, describe) {
    return new Promise((arrived, failed) => {
      const timer = setTimeout(() => failed(new Error(describe())), deadline - Date.now());
      this.#waiting = () => {
        clearTimeout(timer);
        arrived();
      };
    });
  }
}
