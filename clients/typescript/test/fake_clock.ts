/** A clock that stands still until it is told to move. */

export class FakeClock {
  now = 1_790_000_000_000;
  #timers: { readonly at: number; readonly run: () => void }[] = [];

  /** Calls `run` once, `ms` from now; the function returned prevents it. */
  readonly after = (ms: number, run: () => void): (() => void) => {
    const timer = { at: this.now + ms, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  };

  /** Moves on by `ms`, and stops at each timer on the way until all that it set off has happened. */
  async advance(ms: number): Promise<void> {
    const end = this.now + ms;
    await settled();
    for (let runs = 0; ; runs += 1) {
      // Timers that set each other off without end would hang the tests, and a client like that its page.
      if (runs > RUNS_MAX) throw new Error(`${RUNS_MAX} timers ran within ${ms} ms`);
      const due = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers = this.#timers.filter((other) => other !== due);
      this.now = Math.max(this.now, due.at);
      due.run();
      await settled();
    }
    this.now = end;
  }
}

/** Waits until promises, and streams made of them, have nothing left to do. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 4; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** Far more than a client needs in the longest time that a test lets pass. */
const RUNS_MAX = 20_000;
