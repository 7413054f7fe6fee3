/**
 * The wires over plain HTTP. Messages come down by one long response, or by one poll after the other; commands go up by
 * `POST /connect/{session}`, one request at a time so that they keep their order, and the replies are its content.
 *
 *     GET  /connect                   ─▶ {"ev":"welcome","session":"…","secret":"…"} …
 *     POST /connect/{session}         ─▶ [{"re":1,"ok":{…}}, …]
 *     GET  /connect/{session}?ack=N   ─▶ {"last":M,"messages":[…]}, or 204
 *
 * `fetch` carries event streams too: an `EventSource` shows neither heartbeats nor why it was refused, and cannot send
 * the token except in its URL, where logs keep it.
 */
import { CUT, type Ending, FOREIGN } from "../ending.js";
import { asMessage, HEARTBEAT_MS, PING, positive, type Problem } from "../message.js";
import type { Wire, WireListener, WireRequest } from "../wire.js";
import { framing } from "./framing.js";

/** The type that each wire asks for, and gets. */
const TYPES = { "event-stream": "text/event-stream", ndjson: "application/x-ndjson", "long-poll": "application/json" };

/** What a poll is answered with. */
interface Page {
  readonly last: number;
  readonly messages: readonly unknown[];
}

export function openHttp(name: keyof typeof TYPES, { url, query, token, environment }: WireRequest, { onMessage, onEnded }: WireListener): Wire {
  const abort = new AbortController();
  /** The session's address, once it is known. */
  let session = "";
  /** The fields of each request: once the session is known, what proves that it is ours, and how long a poll may wait. */
  let fields: Record<string, string> = {};
  let waiting: string[] = [];
  let posting = false;
  let over = false;

  const close = () => {
    // The server would keep the session for a while; it need not be told, so nobody waits for the answer.
    if (!over && session) environment.fetch(session, { method: "DELETE", headers: fields, keepalive: true }).catch(() => {});
    over = true;
    abort.abort();
  };

  const end = (ending: Ending) => {
    if (over) return;
    close();
    onEnded(ending);
  };

  /** A body that breaks off, or is no JSON, rejects with an error of the platform. */
  const run = (work: Promise<void>) => void work.catch(() => end(CUT));

  /** Takes one message of many: one that cannot be read is no reason to leave a wire that has had its welcome. */
  const take = (value: unknown) => {
    if (over) return;
    let message = PING;
    try {
      message = asMessage(value);
    } catch {
      if (!session) throw end(FOREIGN);
    }
    if ("ev" in message && message.ev === "welcome") {
      session = `${url}/${message.session}`;
      const wait = Math.ceil(positive(message.heartbeat_ms, HEARTBEAT_MS) / 1000);
      fields = { Prefer: `wait=${wait}`, "Everwire-Secret": message.secret ?? "" };
    }
    onMessage(message);
  };

  /** A good response. */
  const request = async (address: string, type: string, init: RequestInit = {}): Promise<Response> => {
    const headers = { Accept: type, ...fields, ...init.headers } as Record<string, string>;
    const whole: RequestInit = { cache: "no-store", signal: abort.signal, ...init, headers };
    const response = await environment.fetch(address, whole).catch(() => {
      throw end({ code: 0, reason: "no response came" });
    });
    const { status } = response;
    const given = response.headers.get("content-type") ?? "";
    if (response.ok) {
      if (status === 204 || given.startsWith(type)) return response;
      // Something between may answer 200 with a page of its own.
      throw end(FOREIGN);
    }
    // A server that restarted knows its sessions no more, and takes a new one.
    if (session && status === 404) throw end(CUT);
    const problem = given.startsWith("application/problem+json") ? problemOf(await response.json()) : null;
    throw end({ code: status, reason: `status ${status}`, problem, afterMs: positive(response.headers.get("retry-after")) * 1000 });
  };

  const open = (type: string) => request(url + query, type, { headers: token ? { Authorization: `Bearer ${token}` } : {} });

  const stream = async (type: string) => {
    const reader = (await open(type)).body!.getReader();
    const decoder = new TextDecoder();
    const frame = framing((text) => take(text));
    for (;;) {
      const { done, value } = await reader.read();
      take(PING);
      if (done || frame(decoder.decode(value, { stream: true })) > LINE_CHARS_MAX) throw end(CUT);
    }
  };

  const poll = async (type: string) => {
    let last = 0;
    for (let response = await open(type); ; response = await request(`${session}?ack=${last}`, type)) {
      take(PING);
      if (response.status !== 204) {
        const page: Page = await response.json();
        for (const message of page.messages) take(message);
        // What is not acknowledged comes again, so a page that got lost on the way is no loss.
        last = page.last;
      }
      if (over || !session) throw end(FOREIGN);
    }
  };

  const post = async () => {
    if (posting) return;
    posting = true;
    while (waiting.length > 0) {
      let chars = 0;
      const full = waiting.findIndex((command, at) => (chars += command.length) > POST_CHARS || at + 1 === POST_COMMANDS);
      const commands = waiting.splice(0, full + 1 || waiting.length);
      const headers = { "Content-Type": TYPES["long-poll"] };
      const response = await request(session, TYPES["long-poll"], { method: "POST", headers, body: `[${commands.join()}]` });
      const replies: readonly unknown[] = await response.json();
      for (const reply of replies) take(reply);
    }
    posting = false;
  };

  run((name === "long-poll" ? poll : stream)(TYPES[name]));
  return {
    send(commands) {
      waiting.push(...commands);
      run(post());
    },
    close,
  };
}

/** Over HTTP the type is an address; its last segment is the name that sessions use. */
function problemOf(problem: Problem): Problem {
  return { ...problem, type: problem.type.replace(/.*\//, "") };
}

/** Far above what a server lets through; without it, a stream without line ends would fill the memory. */
const LINE_CHARS_MAX = 16_777_216;

/** A request ends with the command that reaches this size or number, well below what servers and proxies let through. */
const POST_CHARS = 65_536;
const POST_COMMANDS = 50;
