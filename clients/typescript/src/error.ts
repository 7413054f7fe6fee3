/** Errors of the client: what happened, why, and what to do next. */
import type { Problem } from "./message.js";

/**
 * What went wrong, for programs:
 *
 * - `refused`: the server refused; `problem` holds its words.
 * - `unauthorized`: the credential was refused, also after it was fetched anew.
 * - `queue-full`: too much waits to be sent already.
 * - `timed-out`: no answer came in time; a publication may have been appended or not.
 * - `too-large`: the message alone is larger than the server takes, or than `queueCharsMax`.
 * - `closed`: the line was closed.
 * - `bad-data`: what was to be published, or told of a user, is no JSON.
 */
export type ErrorCode = "refused" | "unauthorized" | "queue-full" | "timed-out" | "too-large" | "closed" | "bad-data";

/** Everything that this library throws or rejects with. */
export class EverwireError extends Error {
  /** `"EverwireError"`. */
  override readonly name = "EverwireError";

  /** @internal */
  constructor(
    /** What went wrong, for programs. */
    readonly code: ErrorCode,
    message: string,
    /** What the server said, if it was the server that refused. */
    readonly problem: Problem | null = null,
  ) {
    super(message);
  }
}

/** The server refused `what`. */
export function refused(what: string, problem: Problem): EverwireError {
  const { type, title, detail = title ?? "no reason was given" } = problem;
  return new EverwireError("refused", `the server refused ${what}: ${detail} (${type})`, problem);
}
