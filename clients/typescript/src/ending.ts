/**
 * How a wire ends, and what follows from it: the one table of close codes and statuses.
 *
 *     verdict       what it blames                         then
 *     wire          this wire on this network              try the next wire at once
 *     server        the server or the whole network        back off, then try again
 *     credential    the token                              fetch a fresh one
 *     stop          what we do                             end the line with an error
 */
import { EverwireError } from "./error.js";
import type { Problem } from "./message.js";

/** How a wire ended. */
export type Ending =
  /** A WebSocket closed; 1006 is the absence of a Close frame. */
  | { readonly kind: "closed"; readonly code: number; readonly reason: string }
  /** An HTTP response that is no session. `problem` is set if Everwire itself wrote it. */
  | { readonly kind: "refused"; readonly status: number; readonly problem: Problem | null; readonly afterMs: number | null }
  /** A stream ended. */
  | { readonly kind: "cut" }
  /** No response came at all. */
  | { readonly kind: "unreachable" }
  /** What came was not written by Everwire. */
  | { readonly kind: "foreign" };

export type Verdict =
  | { readonly blame: "wire"; readonly reason: string }
  | { readonly blame: "server"; readonly reason: string; readonly afterMs: number | null }
  | { readonly blame: "credential"; readonly reason: string }
  | { readonly blame: "stop"; readonly error: EverwireError };

/** What follows from how a wire ended. */
export function judge(ending: Ending): Verdict {
  switch (ending.kind) {
    case "closed":
      return judgeClose(ending.code, ending.reason);
    case "refused":
      return judgeStatus(ending.status, ending.problem, ending.afterMs);
    case "cut":
      return { blame: "wire", reason: "the response was cut" };
    case "unreachable":
      return { blame: "server", reason: "no response came", afterMs: null };
    case "foreign":
      return { blame: "wire", reason: "something between spoke in the server's place" };
  }
}

function judgeClose(code: number, reason: string): Verdict {
  const said = `closed with ${code} ${reason}`.trimEnd();
  if (code === 4401) return { blame: "credential", reason: said };
  if ((code >= 4400 && code <= 4403) || code === 4410) {
    const message = `the server ended the line (${said}); correct the cause and connect anew`;
    return { blame: "stop", error: new EverwireError("refused", message) };
  }
  // A browser tells no more of a refused handshake than 1006. Proxies end what they do not speak in the same way.
  if (code === 1006) return { blame: "wire", reason: "the WebSocket was refused or cut" };
  const after = /after (\d+) ms/.exec(reason);
  return { blame: "server", reason: said, afterMs: after ? Number(after[1]) : null };
}

function judgeStatus(status: number, problem: Problem | null, afterMs: number | null): Verdict {
  const reason = `status ${status}`;
  if (status === 401) return { blame: "credential", reason };
  if (status === 408 || status === 429 || status >= 500) return { blame: "server", reason, afterMs };
  // Only Everwire writes problem details; a bare 403 or 404 is a proxy that does not like this wire. 426 is ours, and
  // says that this address speaks another wire.
  if (problem === null || status === 426) return { blame: "wire", reason };
  return { blame: "stop", error: EverwireError.refused("the line", problem) };
}
