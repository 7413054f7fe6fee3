/**
 * One channel's part in a line: one union, and every transition of it.
 *
 *     off ─▶ joining ─▶ live ─▶ leaving ─▶ off        a lost line: ─▶ off        any ─▶ ended
 *
 * The cursor survives them all. An entry at or before it was seen; so each entry is delivered once, and what cannot be
 * had is told as one gap.
 */
import type { EverwireError } from "./error.js";

/** Where a channel stands on the line. */
export type Subscription = {
  /** The offset after which reading goes on; `null` before the server told the first. */
  readonly cursor: string | null;
} & (
  | { readonly state: "off" }
  /** `subscribe` was sent. `told` if a gap, `taken` if an entry came before the reply. */
  | { readonly state: "joining"; readonly told: boolean; readonly taken: boolean }
  /** `owed` if the server could not resume, and the gap is still to be told. */
  | { readonly state: "live"; readonly owed: boolean }
  /** `unsubscribe` was sent; what still comes is not ours, since it will be read again from the cursor. */
  | { readonly state: "leaving" }
  /** Nothing follows. */
  | { readonly state: "ended"; readonly error: EverwireError | null }
);

/** Entries that nobody can have any more: those between the cursor and `oldest`. */
export interface Gap {
  /** The offset before the oldest entry kept; reading goes on after it. */
  readonly oldest: string;
  /** The offset after the newest entry. */
  readonly newest: string;
}

export type SubscriptionEvent =
  /** Whether entries are wanted may have changed, or the line was opened. */
  | { readonly type: "settle"; readonly wanted: boolean; readonly open: boolean }
  | { readonly type: "joined"; readonly offset: string | null; readonly recovered: boolean }
  | { readonly type: "left" }
  | { readonly type: "lost" }
  | { readonly type: "entry"; readonly offset: string }
  | { readonly type: "gap"; readonly gap: Gap }
  /** A reader left before it took all: what it left is read again. */
  | { readonly type: "rewind"; readonly cursor: string | null }
  | { readonly type: "end"; readonly error: EverwireError | null };

export type SubscriptionEffect =
  | { readonly do: "subscribe" | "unsubscribe" | "deliver" | "end" }
  | { readonly do: "tell-gap"; readonly gap: Gap };

/** The next state, and what has to be done. */
export function stepSubscription(now: Subscription, event: SubscriptionEvent): readonly [Subscription, readonly SubscriptionEffect[]] {
  const { cursor } = now;
  if (now.state === "ended") return [now, []];
  switch (event.type) {
    case "settle":
      if (event.open && event.wanted && now.state === "off") {
        return [{ state: "joining", cursor, told: false, taken: false }, [{ do: "subscribe" }]];
      }
      if (event.open && !event.wanted && (now.state === "joining" || now.state === "live")) {
        return [{ state: "leaving", cursor }, [{ do: "unsubscribe" }]];
      }
      return [now, []];
    case "joined": {
      if (now.state !== "joining") return [now, []];
      // Over HTTP the reply may come after the gap and the entries that it speaks of.
      const owed = !event.recovered && cursor !== null && !now.told;
      const start = now.told || now.taken ? cursor : cursor === null || owed ? event.offset : cursor;
      return [{ state: "live", cursor: start ?? cursor, owed }, []];
    }
    case "left":
      return [now.state === "leaving" ? { state: "off", cursor } : now, []];
    case "lost":
      return [{ state: "off", cursor }, []];
    case "entry": {
      if (now.state !== "joining" && now.state !== "live") return [now, []];
      // Offsets of one channel sort as bytes, and are ASCII.
      if (cursor !== null && event.offset <= cursor) return [now, []];
      if (now.state === "joining") return [{ ...now, cursor: event.offset, taken: true }, [{ do: "deliver" }]];
      const gap: Gap = { oldest: cursor ?? event.offset, newest: event.offset };
      const effects: SubscriptionEffect[] = now.owed ? [{ do: "tell-gap", gap }, { do: "deliver" }] : [{ do: "deliver" }];
      return [{ state: "live", cursor: event.offset, owed: false }, effects];
    }
    case "gap": {
      if (now.state !== "joining" && now.state !== "live") return [now, []];
      const next: Subscription =
        now.state === "joining"
          ? { ...now, cursor: event.gap.oldest, told: true }
          : { state: "live", cursor: event.gap.oldest, owed: false };
      return [next, [{ do: "tell-gap", gap: event.gap }]];
    }
    case "rewind":
      return [{ ...now, cursor: event.cursor }, []];
    case "end":
      return [{ state: "ended", cursor, error: event.error }, [{ do: "end" }]];
  }
}
