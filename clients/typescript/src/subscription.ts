/**
 * One channel's part in a line: one union, and every transition of it.
 *
 *     off ─▶ on ─▶ leaving ─▶ left ─▶ on        a lost line: ─▶ off        any ─▶ ended
 *
 * The cursor survives them all. An entry at or before it was seen; so each entry is delivered once.
 */
import type { EverwireError } from "./error.js";

/** Where a channel stands on the line. */
type State =
  | { readonly state: "off" }
  /** `subscribe` was sent. */
  | { readonly state: "on" }
  /** `unsubscribe` was sent; what still comes is not ours, since it will be read again from the cursor. */
  | { readonly state: "leaving" }
  /** It was answered; over HTTP a reply may overtake entries that were written before it. */
  | { readonly state: "left" }
  /** Nothing follows. */
  | { readonly state: "ended"; readonly error: EverwireError | null };

/** What has to be done. */
export type SubscriptionAction = "subscribe" | "unsubscribe" | "renew" | null;

/** The line, as far as a subscription cares: not there, with a reply after all that was written before it, or without. */
export type LineOrder = "closed" | "ordered" | "racing";

export class Subscription {
  /**
   * The offset after which reading goes on; `null` before the server told the first. A gap moves it to the oldest entry
   * kept, perhaps in an epoch with lower offsets; a reader that leaves early moves it back.
   */
  cursor: string | null = null;
  state: State = { state: "off" };

  /** Whether entries are wanted, or the line, may have changed. */
  settle(wanted: boolean, line: LineOrder): SubscriptionAction {
    const { state } = this.state;
    if (line === "closed" || wanted === (state === "on")) return null;
    if (state === "on") {
      this.state = { state: "leaving" };
      return "unsubscribe";
    }
    // Late entries of the subscription before would push the cursor too far. A new session has no past.
    if (state === "left" && line === "racing") return "renew";
    if (state !== "off" && state !== "left") return null;
    this.state = { state: "on" };
    return "subscribe";
  }

  /** The reply to `subscribe` came. Over HTTP, entries that follow it may have come before, and then know better. */
  joined(offset: string | undefined): void {
    this.cursor ??= offset ?? null;
  }

  /** The reply to `unsubscribe` came. */
  left(): void {
    if (this.state.state === "leaving") this.state = { state: "left" };
  }

  /** The line is lost. */
  lost(): void {
    if (this.state.state !== "ended") this.state = { state: "off" };
  }

  /** Whether what comes is ours. */
  get hears(): boolean {
    return this.state.state === "on";
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
