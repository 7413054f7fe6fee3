/**
 * The messages of a session (`everwire.v1`), the same on every wire.
 *
 *     → {"id":1,"op":"subscribe","channel":"chat/lobby","offset":"0hx…"}
 *     ← {"re":1,"ok":{"offset":"0hx…","recovered":true}}
 *     ← {"ev":"entry","channel":"chat/lobby","offset":"0hx…","time":1790000000000,"data":{"text":"hi"}}
 */

/** What JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** What the server says of a refusal. */
export interface Problem {
  /** Its stable name, such as `forbidden`; the server's manual lists them. */
  readonly type: string;
  /** What it is, for people. */
  readonly title?: string;
  /** What happened this time, and what to do, for people. */
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
  readonly presence?: PresenceAnswer;
  readonly total?: number;
  readonly members?: readonly MemberMessage[];
  readonly entries?: readonly EntryMessage[];
  readonly up_to_date?: boolean;
}

/** Who is there at an offset of the presence log; without `members` if the log goes on where it was left. */
export interface PresenceAnswer {
  readonly offset?: string;
  readonly members?: readonly MemberMessage[];
}

/** An entry of a channel. Bytes come as base64 in `data64`. */
export interface EntryMessage {
  readonly offset: string;
  readonly time: number;
  readonly event?: string;
  readonly data?: unknown;
  readonly data64?: string;
}

/** A member, as the server names it. */
export interface MemberMessage {
  readonly user: string;
  readonly info?: Json;
  readonly count: number;
}

/** An event of a channel. */
export type ChannelMessage =
  | ({ readonly ev: "entry"; readonly channel: string } & EntryMessage)
  /** Over HTTP, where replies come by another way: what follows of this channel is what was asked for last. */
  | { readonly ev: "subscribed"; readonly channel: string; readonly offset: string }
  | { readonly ev: "gap"; readonly channel: string; readonly oldest: string; readonly newest: string; readonly presence?: boolean }
  | ChangeMessage
  | { readonly ev: "closed"; readonly channel: string }
  | { readonly ev: "revoked"; readonly channel: string };

/** A member came, or brought other `info`, or left. */
export interface ChangeMessage extends Omit<MemberMessage, "count"> {
  readonly ev: "join" | "leave";
  readonly channel: string;
  /** The offset in the presence log. */
  readonly offset: string;
}

/** What the server says. */
export type ServerMessage =
  | Reply
  | ChannelMessage
  | { readonly ev: "welcome"; readonly session?: string; readonly secret?: string; readonly heartbeat_ms?: number }
  | { readonly ev: "drain"; readonly after_ms: number }
  | { readonly ev: "ping" };

/** Reads one message, as text or as JSON; throws if it is none, so that something other than Everwire has spoken. */
export function asMessage(told: unknown): ServerMessage {
  const value: unknown = typeof told === "string" ? JSON.parse(told) : told;
  const message = value as Record<string, unknown>;
  const { ev, ok, error, data64 = "" } = message;
  // Throws if it is no base64.
  atob(data64 as string);
  if (typeof ev === "string") {
    if ((REQUIRED[ev] ?? []).every((name) => typeof message[name] === "string")) return value as ServerMessage;
  } else if (typeof (ok ?? error) === "object") {
    return value as ServerMessage;
    // An empty object is the heartbeat of ndjson.
  } else if (JSON.stringify(value) === "{}") {
    return PING;
  }
  throw value;
}

/** A time or number that the server told, if it is one: no timer could end with anything else. */
export function positive(told: unknown, otherwise = 0): number {
  return Math.max(Number(told), 0) || otherwise;
}

/** How often something comes down, if the server does not tell. */
export const HEARTBEAT_MS = 25_000;

/** Nothing but a sign of life: also a message that cannot be read, on a wire that has had its welcome. */
export const PING: ServerMessage = { ev: "ping" };

/** Without these strings, a message would do harm; what else is missing is only missing. */
const REQUIRED: Record<string, readonly string[]> = {
  entry: ["offset"],
  gap: ["oldest"],
  join: ["offset"],
  leave: ["offset"],
};
