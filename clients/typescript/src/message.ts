/**
 * The messages of a session (`everwire.v1`), the same on every wire.
 *
 *     → {"id":1,"op":"subscribe","channel":"chat/lobby","offset":"0hx…"}
 *     ← {"re":1,"ok":{"offset":"0hx…","recovered":true}}
 *     ← {"ev":"entry","channel":"chat/lobby","offset":"0hx…","time":1790000000000,"data":{"text":"hi"}}
 */

/** What JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** What the server says of a refusal; `type` is stable, `title` and `detail` are for people. */
export interface Problem {
  readonly type: string;
  readonly title?: string;
  readonly detail?: string;
  /** Whether the same command may succeed later, unchanged. */
  readonly retry?: boolean;
  /** After how many milliseconds to try again, if the server says so. */
  readonly after_ms?: number;
}

/** A reply to the command whose id is `re`. */
export type Reply = { readonly re: number; readonly ok: Ok } | { readonly re: number; readonly error: Problem };

/** The content of a good reply; each operation fills what it has. */
export interface Ok {
  readonly offset?: string;
  readonly recovered?: boolean;
  readonly [name: string]: unknown;
}

/** An event of a session. */
export type ServerEvent =
  | { readonly ev: "welcome"; readonly session?: string; readonly secret?: string; readonly heartbeat_ms?: number }
  | EntryEvent
  | { readonly ev: "gap"; readonly channel: string; readonly oldest: string; readonly newest: string }
  | MemberEvent
  | { readonly ev: "closed"; readonly channel: string }
  | { readonly ev: "revoked"; readonly channel: string; readonly detail?: string }
  | { readonly ev: "drain"; readonly after_ms: number }
  | { readonly ev: "ping" };

/** An entry of a channel. Bytes come as base64 in `data64`. */
export interface EntryEvent {
  readonly ev: "entry";
  readonly channel: string;
  readonly offset: string;
  readonly time: number;
  readonly event?: string;
  readonly data?: Json;
  readonly data64?: string;
}

/** A member came or left. */
export interface MemberEvent {
  readonly ev: "join" | "leave";
  readonly channel: string;
  readonly user: string;
  readonly info?: Json;
  readonly count?: number;
}

export type ServerMessage = Reply | ServerEvent;

/** Reads one message; `null` if it is none, so that something other than Everwire has spoken. */
export function parseMessage(text: string): ServerMessage | null {
  try {
    return asMessage(JSON.parse(text));
  } catch {
    return null;
  }
}

/** The same, of JSON that was read already. */
export function asMessage(value: unknown): ServerMessage | null {
  if (!isObject(value)) return null;
  if (isObject(value.ok) || isObject(value.error)) return value as unknown as Reply;
  // An empty object is the heartbeat of ndjson.
  if (Object.keys(value).length === 0) return { ev: "ping" };
  if (typeof value.ev !== "string") return null;
  for (const name of REQUIRED[value.ev] ?? []) if (typeof value[name] !== "string") return null;
  return value as unknown as ServerEvent;
}

const REQUIRED: Record<string, readonly string[]> = {
  entry: ["channel", "offset"],
  gap: ["channel", "oldest"],
};

function isObject(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === "object" && value !== null;
}
