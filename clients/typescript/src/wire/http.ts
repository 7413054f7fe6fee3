/**
 * The wires over plain HTTP. Messages come down by one long response, or by one poll after the other; commands go up by
 * `POST /connect/{session}`, one request at a time so that they keep their order, and the replies are its content.
 *
 *     GET  /connect             ─▶ {"ev":"welcome","session":"…","secret":"…"} …
 *     POST /connect/{session}   ─▶ [{"re":1,"ok":{…}}, …]
 *
 * `fetch` carries event streams too: an `EventSource` shows neither heartbeats nor why it was refused, and cannot send
 * the token except in its URL, where logs keep it.
 */
import type { Ending } from "../ending.js";
import { asMessage, parseMessage, type Problem, type ServerMessage } from "../message.js";
import type { WireName } from "../settings.js";
import type { Wire, WireListener, WireRequest } from "../wire.js";
import { type Framing, eventStream, ndjson } from "./framing.js";

/** The type that each wire asks for, and gets. */
const TYPES = { "event-stream": "text/event-stream", ndjson: "application/x-ndjson", "long-poll": "application/json" };

export class HttpWire implements Wire {
  readonly #abort = new AbortController();
  readonly #request: WireRequest;
  readonly #listener: WireListener;
  #session: { readonly url: string; readonly secret: string } | null = null;
  #waiting: string[] = [];
  #posting = false;
  #over = false;

  constructor(name: Exclude<WireName, "websocket">, request: WireRequest, listener: WireListener) {
    this.#request = request;
    this.#listener = listener;
    void this.#run(name === "long-poll" ? this.#poll() : this.#stream(name));
  }

  send(commands: readonly string[]): void {
    this.#waiting.push(...commands);
    void this.#run(this.#post());
  }

  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#abort.abort();
    if (this.#session === null) return;
    const { url, secret } = this.#session;
    // The server would keep the session for a while; it need not be told, so nobody waits for the answer.
    const init = { method: "DELETE", headers: { [SECRET]: secret }, keepalive: true };
    this.#request.environment.fetch(url, init).catch(() => {});
  }

  async #stream(name: "event-stream" | "ndjson"): Promise<void> {
    const response = await this.#open(this.#request.url, name);
    const reader = response.body!.getReader();
    const decoder = new TextDecoder();
    const onMessage = (text: string) => this.#take(parseMessage(text));
    const framing: Framing = name === "ndjson" ? ndjson(onMessage) : eventStream(onMessage);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Ended({ kind: "cut" });
      if (this.#over) return;
      this.#listener.onHeard();
      if (!framing(decoder.decode(value, { stream: true }))) throw new Ended({ kind: "foreign" });
    }
  }

  async #poll(): Promise<void> {
    const wait = `wait=${Math.max(1, Math.floor(this.#request.pollMs / 1000))}`;
    let last: number | null = null;
    let response = await this.#open(this.#request.url, "long-poll");
    for (;;) {
      if (response.status !== 204) {
        const page: unknown = await response.json().catch(() => null);
        if (!isPage(page)) throw new Ended({ kind: "foreign" });
        for (const message of page.messages) this.#take(asMessage(message));
        last = page.last;
      }
      if (this.#over) return;
      this.#listener.onHeard();
      if (this.#session === null) throw new Ended({ kind: "foreign" });
      // What is not acknowledged comes again, so a page that got lost on the way is no loss.
      const url = last === null ? this.#session.url : `${this.#session.url}?ack=${last}`;
      response = await this.#open(url, "long-poll", { Prefer: wait, [SECRET]: this.#session.secret });
    }
  }

  async #post(): Promise<void> {
    if (this.#posting || this.#over || this.#session === null || this.#waiting.length === 0) return;
    this.#posting = true;
    const commands = this.#waiting;
    this.#waiting = [];
    const headers = { "Content-Type": "application/json", [SECRET]: this.#session.secret };
    const response = await this.#fetch(this.#session.url, { method: "POST", headers, body: `[${commands.join()}]` });
    const replies: unknown = await response.json().catch(() => null);
    if (this.#over) return;
    for (const reply of Array.isArray(replies) ? replies : [replies]) this.#take(asMessage(reply));
    this.#posting = false;
    return this.#post();
  }

  async #open(url: string, name: keyof typeof TYPES, more: Record<string, string> = {}): Promise<Response> {
    const headers: Record<string, string> = { Accept: TYPES[name], ...more };
    if (this.#request.token !== null) headers.Authorization = `Bearer ${this.#request.token}`;
    const response = await this.#fetch(url, { headers, cache: "no-store" });
    const type = response.headers.get("content-type") ?? "";
    // Something between may answer 200 with a page of its own.
    if (response.status !== 204 && !type.startsWith(TYPES[name])) throw new Ended({ kind: "foreign" });
    return response;
  }

  /** A good response, or `Ended` with what the other response says. */
  async #fetch(url: string, init: RequestInit): Promise<Response> {
    let response: Response;
    try {
      response = await this.#request.environment.fetch(url, { ...init, signal: this.#abort.signal });
    } catch {
      throw new Ended({ kind: "unreachable" });
    }
    if (response.ok) return response;
    // A server that restarted knows its sessions no more, and takes a new one.
    if (url !== this.#request.url && response.status === 404) throw new Ended({ kind: "cut" });
    const isProblem = response.headers.get("content-type")?.startsWith("application/problem+json");
    const problem = isProblem ? await problemOf(response) : null;
    const after = Number(response.headers.get("retry-after"));
    throw new Ended({ kind: "refused", status: response.status, problem, afterMs: after > 0 ? after * 1000 : null });
  }

  #take(message: ServerMessage | null): void {
    if (this.#over) return;
    if (message === null) throw new Ended({ kind: "foreign" });
    if ("ev" in message && message.ev === "welcome") {
      if (message.session === undefined) throw new Ended({ kind: "foreign" });
      this.#session = {
        url: `${this.#request.url}/${encodeURIComponent(message.session)}`,
        secret: message.secret ?? "",
      };
    }
    this.#listener.onMessage(message);
  }

  /** Whatever goes wrong in `work` ends the wire, once. */
  async #run(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      if (this.#over) return;
      this.close();
      // A body that breaks off rejects with an error of the platform.
      this.#listener.onEnded(error instanceof Ended ? error.ending : { kind: "cut" });
    }
  }
}

class Ended {
  constructor(readonly ending: Ending) {}
}

function isPage(page: unknown): page is { readonly last: number; readonly messages: readonly unknown[] } {
  return typeof page === "object" && page !== null && "last" in page && "messages" in page && Array.isArray(page.messages);
}

const SECRET = "Everwire-Secret";

/** Over HTTP the type is an address; its last segment is the name that sessions use. */
async function problemOf(response: Response): Promise<Problem> {
  const problem = (await response.json().catch(() => ({}))) as Partial<Problem>;
  return { ...problem, type: problem.type?.replace(/.*\//, "") ?? "unknown" };
}
