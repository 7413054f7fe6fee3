// How late this machine is: what takes no time at all where nothing else runs.

const EVERY_MS = 50;

/** Asks a server for its health again and again, and keeps how long that took. */
export class Lateness {
  #measured = [];
  #timer;

  constructor(server) {
    let due = performance.now() + EVERY_MS;
    const measure = async () => {
      await fetch(`${server.url}/healthz`).then((answer) => answer.arrayBuffer(), () => {});
      const now = performance.now();
      this.#measured.push({ at: now, ms: now - due });
      due = now + EVERY_MS;
      this.#timer = setTimeout(measure, EVERY_MS);
    };
    this.#timer = setTimeout(measure, EVERY_MS);
  }

  /** The longest delay since `time` by `performance.now()`, in milliseconds: of this process, the server or both. */
  since(time) {
    return Math.max(0, ...this.#measured.filter(({ at }) => at >= time).map(({ ms }) => ms));
  }

  stop() {
    clearTimeout(this.#timer);
  }
}
