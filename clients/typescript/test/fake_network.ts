/** The network between client and fake server: a `WebSocket` and a `fetch`, and what goes wrong with each wire. */
import type { Environment, WireName } from "../src/settings.js";
import type { WebSocketConstructor } from "../src/wire/websocket.js";
import type { FakeServer, Session, Sink } from "./fake_server.js";

/** What goes wrong with a wire, on lines that are open as well as on new ones. */
export type Fault =
  /** The handshake or request gets `status`; with `problem`, from Everwire itself. */
  | { readonly fault: "refuse"; readonly status?: number; readonly problem?: string; readonly retry_after_s?: number }
  /** It is accepted, and nothing comes down. */
  | { readonly fault: "swallow" }
  /** It is accepted, and nothing goes up. */
  | { readonly fault: "swallow-up" }
  /** Something between answers 200 with a page of its own. */
  | { readonly fault: "foreign" }
  /** Every line is cut after so many bytes from the server. */
  | { readonly fault: "cut"; readonly bytes: number }
  /** Each request that carries commands reaches the server twice, and the second answer comes back. */
  | { readonly fault: "twice" }
  /** Each message takes so long. */
  | { readonly fault: "delay"; readonly ms: number };

/** One direction of a connection. */
interface Lane {
  until: number;
}

export class FakeNetwork {
  readonly faults = new Map<WireName, Fault>();
  /** The wires that clients tried to open, in order. */
  readonly attempts: WireName[] = [];
  readonly WebSocket: WebSocketConstructor;
  /** Pieces in which streams come, in bytes: small ones cut each message somewhere. */
  pieceBytes = 7;

  constructor(readonly server: FakeServer) {
    const network = this;
    this.WebSocket = class extends FakeWebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols, network);
      }
    } as unknown as WebSocketConstructor;
  }

  readonly fetch: Environment["fetch"] = async (url, init) => {
    const { pathname, searchParams } = new URL(url);
    const path = pathname.split("/").slice(2).join("/");
    const publisher = searchParams.get("publisher");
    const headers = new Headers(init.headers);
    const token = headers.get("authorization")?.replace("Bearer ", "") ?? null;
    if (init.method === "POST") return this.#post(path, init);
    if (init.method === "DELETE") {
      this.server.sessions.get(path)?.drop();
      return new Response(null, { status: 204 });
    }
    if (path !== "") return this.#poll(path, searchParams.get("ack"), init);
    const accept = headers.get("accept") ?? "";
    const wire = accept.includes("event-stream") ? "event-stream" : accept.includes("ndjson") ? "ndjson" : "long-poll";
    this.attempts.push(wire);
    await this.#delay(wire);
    const refused = await this.#refusal(wire, token, init);
    if (refused) return refused;
    return wire === "long-poll" ? this.#firstPoll(token, publisher, init) : this.#stream(wire, accept, token, publisher, init);
  };

  /** How many of `text`'s bytes pass before the line is cut, given what passed before. */
  passes(wire: WireName, passed: number, text: string): number {
    const fault = this.faults.get(wire);
    return fault?.fault === "cut" ? Math.max(0, Math.min(text.length, fault.bytes - passed)) : text.length;
  }

  is(wire: WireName, fault: Fault["fault"]): boolean {
    return this.faults.get(wire)?.fault === fault;
  }

  /** Does `run` after the delay of `wire`. What shares a lane keeps its order, as it does in a TCP connection. */
  later(wire: WireName, run: () => void, lane: Lane = { until: 0 }): void {
    const fault = this.faults.get(wire);
    const { now } = this.server.clock;
    lane.until = Math.max(lane.until, now + (fault?.fault === "delay" ? fault.ms : 0));
    this.server.clock.after(lane.until - now, run);
  }

  readonly #wireOf = new Map<string, WireName>();
  readonly #pages = new Map<string, { numbered: { n: number; message: unknown }[]; wake: (() => void) | null; over: boolean }>();

  async #delay(wire: WireName): Promise<void> {
    await new Promise<void>((resolve) => this.later(wire, resolve));
  }

  async #refusal(wire: WireName, token: string | null, init: RequestInit): Promise<Response | null> {
    const fault = this.faults.get(wire);
    if (!this.server.up) throw new TypeError("fetch failed");
    if (fault?.fault === "refuse") {
      if (fault.status === undefined) throw new TypeError("fetch failed");
      const retry: Record<string, string> = fault.retry_after_s === undefined ? {} : { "retry-after": String(fault.retry_after_s) };
      if (fault.problem === undefined) return new Response("<h1>no</h1>", { status: fault.status, headers: { "content-type": "text/html", ...retry } });
      return problem(fault.status, fault.problem, retry);
    }
    if (fault?.fault === "foreign") return new Response("<h1>please log in</h1>", { headers: { "content-type": "text/html" } });
    if (fault?.fault === "swallow" && wire === "long-poll") await aborted(init);
    return this.server.accepts(token) ? null : problem(401, "unauthorized", {});
  }

  #stream(wire: WireName, type: string, token: string | null, publisher: string | null, init: RequestInit): Response {
    let session: Session | null = null;
    let over = false;
    let swallows = false;
    const down: Lane = { until: 0 };
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        let passed = 0;
        const cut = () => {
          if (over) return;
          over = true;
          session?.drop();
          if (swallows) return;
          controller.error(new TypeError("terminated"));
        };
        init.signal?.addEventListener("abort", cut);
        const sink: Sink = {
          message: (message) => {
            const text = wire === "ndjson" ? `${JSON.stringify(message)}\n` : `: c\r\ndata: ${JSON.stringify(message)}\r\n\r\n`;
            this.later(wire, () => {
              // What was swallowed once never comes; nor does what follows it.
              swallows ||= this.is(wire, "swallow");
              if (over || swallows) return;
              const passes = this.passes(wire, passed, text);
              const bytes = new TextEncoder().encode(text.slice(0, passes));
              passed += passes;
              for (let at = 0; at < bytes.length; at += this.pieceBytes) controller.enqueue(bytes.slice(at, at + this.pieceBytes));
              // An error of the stream would discard what waits, which the network had delivered.
              if (passes < text.length) this.later(wire, cut, down);
            }, down);
          },
          close: () => this.later(wire, cut, down),
        };
        session = this.server.open(token, sink, true, publisher);
        this.#wireOf.set(session.id, wire);
      },
    });
    return new Response(body, { headers: { "content-type": type } });
  }

  #firstPoll(token: string | null, publisher: string | null, init: RequestInit): Promise<Response> {
    const page: { numbered: { n: number; message: unknown }[]; wake: (() => void) | null; over: boolean } = { numbered: [], wake: null, over: false };
    let n = 0;
    const sink: Sink = {
      message: (message) => {
        page.numbered.push({ n: (n += 1), message });
        page.wake?.();
      },
      close: () => {
        page.over = true;
        page.wake?.();
      },
    };
    const session = this.server.open(token, sink, true, publisher);
    this.#pages.set(session.id, page);
    this.#wireOf.set(session.id, "long-poll");
    return this.#answerPoll(session.id, init);
  }

  async #poll(id: string, ack: string | null, init: RequestInit): Promise<Response> {
    await this.#delay("long-poll");
    const page = this.#pages.get(id);
    if (page && ack !== null) page.numbered = page.numbered.filter(({ n }) => n > Number(ack));
    return this.#answerPoll(id, init);
  }

  async #answerPoll(id: string, init: RequestInit): Promise<Response> {
    const page = this.#pages.get(id);
    if (!page || (page.over && page.numbered.length === 0)) return problem(404, "not-found", {});
    if (page.numbered.length === 0) {
      await new Promise<void>((resolve) => {
        page.wake = resolve;
        // Each poll has the same signal, so a listener must not outlive its poll.
        if (page.numbered.length === 0 && init.signal) init.signal.onabort = () => resolve();
      });
      if (page.numbered.length === 0) throw new TypeError("terminated");
    }
    if (this.is("long-poll", "swallow")) await aborted(init);
    const body = JSON.stringify({ last: page.numbered.at(-1)?.n, messages: page.numbered.map(({ message }) => message) });
    return new Response(body, { headers: { "content-type": "application/json" } });
  }

  async #post(id: string, init: RequestInit): Promise<Response> {
    const wire = this.#wireOf.get(id) ?? "long-poll";
    if (this.is(wire, "swallow-up")) await aborted(init);
    await this.#delay(wire);
    const session = this.server.sessions.get(id);
    if (!session) return problem(404, "not-found", {});
    if (new Headers(init.headers).get("everwire-secret") !== `secret of ${id}`) return problem(403, "forbidden", {});
    if (String(init.body).length > this.server.messageCharsMax) return problem(413, "too-large", {});
    let replies: unknown[] = [];
    for (let time = this.is(wire, "twice") ? 2 : 1; time > 0; time -= 1) {
      replies = [];
      for (const command of JSON.parse(String(init.body)) as Record<string, unknown>[]) {
        const done = session.command(command);
        if (done === null) throw new TypeError("terminated");
        replies.push(done.reply);
        done.then();
      }
    }
    return new Response(JSON.stringify(replies), { headers: { "content-type": "application/json" } });
  }
}

class FakeWebSocket {
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: ((event: object) => void) | null = null;
  #session: Session | null = null;
  #over = false;
  #swallowsDown = false;
  #swallowsUp = false;
  readonly #down: Lane = { until: 0 };
  readonly #up: Lane = { until: 0 };

  constructor(
    url: string,
    protocols: string[],
    readonly network: FakeNetwork,
  ) {
    const { server } = network;
    network.attempts.push("websocket");
    const token = protocols.find((protocol) => protocol.startsWith("bearer."))?.slice(7) ?? null;
    network.later("websocket", () => {
      if (this.#over) return;
      const refused = network.is("websocket", "refuse") || network.is("websocket", "foreign");
      if (refused || !server.up || !server.accepts(token)) return this.#end(1006, "");
      let passed = 0;
      const sink: Sink = {
        message: (message) => {
          const text = JSON.stringify(message);
          network.later("websocket", () => {
            this.#swallowsDown ||= network.is("websocket", "swallow");
            if (this.#over || this.#swallowsDown) return;
            // A frame of which the end is missing is no message.
            if (network.passes("websocket", passed, text) < text.length) return this.#end(1006, "");
            passed += text.length;
            this.onmessage?.({ data: text });
          }, this.#down);
        },
        close: (code, reason) => network.later("websocket", () => this.#swallowsDown || this.#end(code, reason), this.#down),
      };
      this.#session = server.open(token, sink, false, new URL(url).searchParams.get("publisher"));
    });
  }

  send(text: string): void {
    this.#swallowsUp ||= this.network.is("websocket", "swallow-up");
    if (this.#swallowsUp) return;
    const session = this.#session;
    this.network.later("websocket", () => {
      if (this.#over || !session) return;
      if (text.length > session.server.messageCharsMax) return session.end(1009, "too large");
      const done = session.command(JSON.parse(text) as Record<string, unknown>);
      if (done === null) return;
      session.sink.message(done.reply);
      done.then();
    }, this.#up);
  }

  close(): void {
    this.#over = true;
    this.#session?.drop();
  }

  #end(code: number, reason: string): void {
    if (this.#over) return;
    this.close();
    this.onerror?.({});
    this.onclose?.({ code, reason });
  }
}

function problem(status: number, type: string, headers: Record<string, string>): Response {
  const body = JSON.stringify({ type: `https://everwire.dev/problems/${type}`, title: type, status, detail: `refused: ${type}` });
  return new Response(body, { status, headers: { "content-type": "application/problem+json", ...headers } });
}

function aborted(init: RequestInit): Promise<never> {
  return new Promise((_resolve, reject) => {
    init.signal?.addEventListener("abort", () => reject(new TypeError("aborted")));
  });
}
