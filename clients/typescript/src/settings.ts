/** What can be set, with defaults that suit most, and what the client takes from the world around it. */
import type { WebSocketConstructor } from "./wire/websocket.js";

/** The wires that carry a session, best first. */
export type WireName = "websocket" | "event-stream" | "ndjson" | "long-poll";

/** How the line behaves. All times are milliseconds. */
export interface Settings {
  /** Wires that may be used, best first. Default: all four, without those that the platform lacks. */
  readonly wires: readonly WireName[];
  /** How long a wire may take to prove that it carries messages both ways; grows with failed attempts. Default 5,000. */
  readonly proveMs: number;
  /** How long a reply may take on a proven wire, and a token to be fetched. Default 10,000. */
  readonly replyMs: number;
  /** A line that lived this long was good, and the next attempt counts as the first. Default 10,000. */
  readonly stableMs: number;
  /** Upper edge of the first wait for a new attempt. Default 1,000. */
  readonly backoffMs: number;
  /** Upper edge of all waits. Default 30,000. */
  readonly backoffMaxMs: number;
  /** How long to stay on a lesser wire before a better one is tried beside it; doubles up to an hour. Default 60,000. */
  readonly returnMs: number;
  /** How long storage is believed about what worked. Default one day. */
  readonly rememberMs: number;
  /** How long before its end a token is replaced. Default 30,000. */
  readonly refreshMs: number;
  /** Commands (mostly publications) that may wait for their reply. Default 1,000. */
  readonly queueMax: number;
  /** Characters of JSON that may wait for their reply. Default 1,048,576. */
  readonly queueCharsMax: number;
  /** How long a command may wait for its reply. Default 600,000: well within the day for which servers know keys. */
  readonly queueMs: number;
  /** Entries that may wait for a slow reader; then the channel is left and later resumed. Default 1,000. */
  readonly readerEntriesMax: number;
}

/** The world around the client. Tests put a fake one in its place. */
export interface Environment {
  /** Without it there is no WebSocket wire. Default: the platform's; Node 20 has none. */
  readonly WebSocket?: WebSocketConstructor | undefined;
  /** Carries the other wires. Default: the platform's. */
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Calls `run` once after `ms`; the function returned prevents it. */
  readonly after: (ms: number, run: () => void) => () => void;
  /** A number from 0 up to 1, not to be guessed: publication keys are made of it. */
  readonly random: () => number;
  /** Keeps which wire worked. Default: `localStorage`, where there is one. */
  readonly storage?: Pick<Storage, "getItem" | "setItem"> | undefined;
  /** Calls `wake` whenever the network or the page comes back; the function returned ends that. */
  readonly onWake?: ((wake: () => void) => () => void) | undefined;
}

/** What `connect` takes. */
export interface ConnectOptions extends Partial<Settings> {
  /** Returns the token; called before the first attempt, before expiry and after a refusal. Default: no token. */
  readonly token?: () => string | Promise<string>;
  /** Who publishes over this line, for channels with `echo: false`: 1–64 visible ASCII characters. Default: at random. */
  readonly publisher?: string;
  /** Names the network that we are in, where a program knows, so that each has its own remembered wire. */
  readonly network?: () => string;
  /** Parts of the world to replace. */
  readonly environment?: Partial<Environment>;
}

export const WIRES: readonly WireName[] = ["websocket", "event-stream", "ndjson", "long-poll"];

/** The settings with their defaults. */
export function withDefaults(options: ConnectOptions, environment: Environment): Settings {
  const usable = (options.wires ?? WIRES).filter((wire) => wire !== "websocket" || environment.WebSocket);
  return {
    proveMs: 5_000,
    replyMs: 10_000,
    stableMs: 10_000,
    backoffMs: 1_000,
    backoffMaxMs: 30_000,
    returnMs: 60_000,
    rememberMs: 86_400_000,
    refreshMs: 30_000,
    queueMax: 1_000,
    queueCharsMax: 1_048_576,
    queueMs: 600_000,
    readerEntriesMax: 1_000,
    ...options,
    wires: usable.length > 0 ? usable : ["long-poll"],
  };
}

/** The platform, with what the options replace. */
export function environmentOf(replaced: Partial<Environment> = {}): Environment {
  const page = typeof document === "undefined" ? null : document;
  return {
    WebSocket: globalThis.WebSocket,
    fetch: (url, init) => fetch(url, init),
    now: () => Date.now(),
    after(ms, run) {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
    random: () => crypto.getRandomValues(new Uint32Array(1))[0]! / 2 ** 32,
    storage: storageOf(page),
    onWake(wake) {
      const off = new AbortController();
      globalThis.addEventListener?.("online", wake, off);
      page?.addEventListener("visibilitychange", () => page.hidden || wake(), off);
      return () => off.abort();
    },
    ...replaced,
  };
}

function storageOf(page: Document | null): Storage | undefined {
  // Reading the property throws where the page may not store anything; Node warns of it, so it is not asked.
  try {
    return page ? localStorage : undefined;
  } catch {
    return undefined;
  }
}
