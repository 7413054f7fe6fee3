/**
 * Who is in a channel, kept current: a snapshot, and the joins and leaves of the presence log after it.
 *
 *     await ─▶ changes that come are held ─▶ answer, with or without a snapshot ─▶ they follow it
 */
import type { ChangeMessage, Json, PresenceAnswer } from "./message.js";

/** One who is there: the sessions of one user are one member. */
export interface Member {
  /** The user's name; it begins with `~` if nobody vouches for it. */
  readonly user: string;
  /** What the user told of itself. */
  readonly info?: Json | undefined;
}

export class Presence {
  readonly members = new Map<string, Member>();
  /** Where the presence log goes on; empty if that is not known. */
  offset = "";
  /** Changes that came while an answer is awaited, and may be older than it. */
  #held: ChangeMessage[] | null = null;

  /** An answer was asked for. */
  await(): void {
    this.#held = [];
  }

  /** The answer came; returns the changes that are to be tried again after it. */
  answer({ offset = "", members }: PresenceAnswer): readonly ChangeMessage[] {
    if (members) {
      this.offset = offset;
      this.members.clear();
      for (const { user, info } of members) this.members.set(user, { user, info });
    }
    const held = this.#held ?? [];
    this.#held = null;
    return held;
  }

  /** Somebody came or left; returns who, if it is news. */
  change(message: ChangeMessage): Member | null {
    const { ev, offset, user, info } = message;
    if (this.#held?.push(message) || offset <= this.offset) return null;
    this.offset = offset;
    const known = this.members.get(user);
    this.members.delete(user);
    if (ev === "leave") return known ?? { user };
    const member = { user, info };
    this.members.set(user, member);
    return member;
  }
}
