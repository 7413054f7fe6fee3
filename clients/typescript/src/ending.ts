/**
 * How a wire ends, and what follows from it: the one table of close codes and statuses, which share no number.
 *
 *     verdict       what it blames                         then
 *     wire          this wire on this network              try the next wire at once
 *     server        the server or the whole network        back off, then try again
 *     credential    the token                              fetch a fresh one
 *     stop          what we do                             end the line with an error
 */
import type { Problem } from "./message.js";

/** How a wire ended. */
export interface Ending {
  /** The close code of a WebSocket (1006 is the absence of a Close frame), or the status of a response; 0: none came. */
  readonly code: number;
  readonly reason: string;
  /** What Everwire itself said of a refused request. */
  readonly problem?: Problem | null;
  /** When the server wants us back, in milliseconds from now. */
  readonly afterMs?: number | undefined;
}

/** A good response ended. */
export const CUT: Ending = { code: 200, reason: "it was cut" };

/** Something between spoke in the server's place. */
export const FOREIGN: Ending = { code: 200, reason: "something between answered" };

export type Blame = "wire" | "server" | "credential" | "stop";

/** What is to blame for an ending. */
export function judge({ code, problem }: Ending): Blame {
  if (code === 401 || code === 4401) return "credential";
  // A browser tells no more of a refused handshake than 1006, and proxies end what they do not speak in the same way.
  if (code === 200 || code === 1006) return "wire";
  if ([4400, 4402, 4403, 4410].includes(code)) return "stop";
  // These statuses ask for patience. 409 tells a poll that a newer one came, which happens when a browser sends it twice;
  // 413 is about one command, which is not sent again.
  if (code < 400 || code >= 500 || [408, 409, 413, 429].includes(code)) return "server";
  // Only Everwire writes problem details; a bare 403 or 404 is a proxy that does not like this wire. 426 is ours, and
  // says that this address speaks another wire.
  return problem && code !== 426 ? "stop" : "wire";
}
