/**
 * One channel's part in a line: one union, and every transition of it.
 *
 *     off ─▶ joining ─▶ on ─▶ leaving ─▶ off        a lost line: ─▶ off        any ─▶ ended
 *
 * The cursor survives them all. An entry at or before it was seen; so each entry is delivered once.
 */
import type { EverwireError } from "./error.js";

/** Where a channel stands on the line. */
type State =
  | { readonly state: "off" }
  /** `subscribe` was sent; what still comes is of an earlier subscription, and would push the cursor too far. */
  | { readonly state: "joining" }
  /** What comes is ours. */
  | { readonly state: "on" }
  /** `unsubscribe` was sent; what still comes will be read again from the cursor. */
  | { readonly state: "leaving" }
  /** Nothing follows. */
  | { readonly state: "ended"; readonly error: EverwireError | null };

export class Subscription {
  /**
   * The offset after which reading goes on; `null` before the server told the first. A gap moves it to the oldest entry
   * kept, perhaps in an epoch with lower offsets; a reader that leaves early moves it back.
   */
  cursor: string | null = null;
  state: State = { state: "off" };
  /** How many subscriptions were asked for on this line, and neither began nor were refused. */
  #asked = 0;

  /** Whether what comes is ours. */
  get hears(): boolean {
    return this.state.state === "on";
  }

  /** Whether entries are wanted, or the line is open, may have changed; returns what to send. */
  settle(wanted: boolean, open: boolean): "subscribe" | "unsubscribe" | null {
    const { state } = this.state;
    if (open && wanted && state === "off") {
      this.#asked += 1;
      this.state = { state: "joining" };
      return "subscribe";
    }
    if (open && !wanted && (state === "joining" || state === "on")) {
      this.state = { state: "leaving" };
      return "unsubscribe";
    }
    return null;
  }

  /** A subscription began at `offset`. One that was left before that may begin late, and is not what is asked for now. */
  began(offset: string | undefined): void {
    if (--this.#asked > 0 || this.state.state !== "joining") return;
    this.state = { state: "on" };
    this.cursor ??= offset ?? null;
  }

  /** It was refused for now. */
  refused(): void {
    this.#asked -= 1;
    this.left();
  }

  /** The reply to `unsubscribe` came. */
  left(): void {
    if (this.state.state !== "ended") this.state = { state: "off" };
  }

  /** The line is lost. */
  lost(): void {
    this.#asked = 0;
    this.left();
  }

  /** An entry came; returns whether it is new. */
  entry(offset: string): boolean {
    // Offsets of one channel sort as bytes, and are ASCII.
    if (this.cursor !== null && offset <= this.cursor) return false;
    this.cursor = offset;
    return true;
  }

  /** Nothing follows; returns whether that is news. */
  end(error: EverwireError | null): boolean {
    if (this.state.state === "ended") return false;
    this.state = { state: "ended", error };
    return true;
  }
}
