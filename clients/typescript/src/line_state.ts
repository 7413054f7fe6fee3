/**
 * The life of a line: one union, and every transition of it. No socket, clock or chance is touched here; the shell
 * brings events in, and carries out what it is asked for.
 *
 *     authorizing ─▶ connecting ─▶ open ─▶ waiting ─▶ authorizing or connecting …      any ─▶ closed
 *       token          welcome      lost     retryAt
 */
import { backoffMs } from "./backoff.js";
import { refreshAt } from "./credential.js";
import { type Ending, judge } from "./ending.js";
import { EverwireError, refused } from "./error.js";
import { HEARTBEAT_MS } from "./message.js";
import type { Settings, WireName } from "./settings.js";
import type { Wire } from "./wire.js";

/** Where a line stands. Times are Unix milliseconds. */
export type LineState =
  /** A token is being fetched. */
  | { readonly state: "authorizing" }
  /** `wire` was opened, and has to welcome us. */
  | { readonly state: "connecting"; readonly wire: WireName }
  /** Messages flow. */
  | { readonly state: "open"; readonly wire: WireName }
  /** The next attempt is at `retryAt`; `reason` tells why. */
  | { readonly state: "waiting"; readonly retryAt: number; readonly reason: string }
  /** The end; `error` is `null` if the program asked for it. */
  | { readonly state: "closed"; readonly error: EverwireError | null };

/** The same, with what only the transitions know. What never comes is at `Infinity`. */
type State =
  | { readonly state: "authorizing"; readonly deadline: number }
  | {
      readonly state: "connecting";
      readonly wire: WireName;
      readonly link: Wire;
      /** Wires to try after this one. */
      readonly rest: readonly WireName[];
      readonly reason: string;
      readonly deadline: number;
    }
  | Open
  | {
      readonly state: "waiting";
      readonly retryAt: number;
      /** The server named that time, so no wake-up shortens it. */
      readonly ordered: boolean;
      readonly reason: string;
    }
  | { readonly state: "closed"; readonly error: EverwireError | null };

interface Open {
  readonly state: "open";
  readonly wire: WireName;
  readonly link: Wire;
  readonly since: number;
  readonly heartbeatMs: number;
  heardAt: number;
  /** A ping was sent since something was heard. */
  pinged: boolean;
  /** When the oldest unanswered command has to be answered. */
  replyBy: number;
  /** Whether a reply came on this wire: it carries messages both ways. */
  proven: boolean;
  refreshAt: number;
  trial: Trial;
}

/** The way back to a better wire: planned for `at`, or, with a `link`, running until then. */
type Trial = { readonly at: number; readonly link?: Wire; heartbeatMs?: number };

/** What happens to a line. Those with `from` come from one wire; what others still say is not heard. */
export type LineEvent =
  | { readonly type: "start" | "tick" | "wake" | "close" | "asked" | "token-refused" }
  | { readonly type: "token"; readonly expiresAt: number }
  | { readonly type: "token-failed"; readonly reason: string }
  | { readonly type: "welcome"; readonly from: Wire; readonly heartbeatMs: number }
  | { readonly type: "heard"; readonly from: Wire }
  /** A reply came; `more` if others are still to come. */
  | { readonly type: "answered"; readonly from: Wire; readonly more: boolean }
  | { readonly type: "drain"; readonly from: Wire; readonly afterMs: number }
  | { readonly type: "ended"; readonly from: Wire; readonly ending: Ending };

/** What a life asks of the shell around it. */
export interface Shell {
  readonly settings: Settings;
  now(): number;
  random(): number;
  open(wire: WireName): Wire;
  ping(wire: Wire): void;
  fetchToken(): void;
  /** Brings the fresh token to the open line. */
  authenticate(): void;
  /** The line is lost: what was sent and not answered has to be sent again on the next. */
  suspend(): void;
  /** The line is open, on `wire`: subscribe, and send what waits. */
  resume(wire: WireName, reason: string): void;
  /** The line is over: tell all who wait. */
  finish(error: EverwireError | null): void;
}

export class LineLife {
  state: State = { state: "waiting", retryAt: 0, ordered: false, reason: "the line was started" };
  readonly #shell: Shell;
  /** The wire to try first. */
  #preferred: WireName;
  readonly #hasToken: boolean;
  /** When the token ends; 0 if one has to be fetched before the next attempt. */
  #expiresAt: number;
  #returnMs: number;
  /** Attempts that failed since a line was good. */
  #failures = 0;
  /** Times in a row that an open line went silent, or ended soon. */
  #flaps = 0;
  /** Refusals of the credential in a row. */
  #refusals = 0;

  constructor(shell: Shell, preferred: WireName, hasToken: boolean) {
    this.#shell = shell;
    this.#preferred = preferred;
    this.#hasToken = hasToken;
    this.#expiresAt = hasToken ? 0 : Infinity;
    this.#returnMs = shell.settings.returnMs;
  }

  /** When the shell has to send `tick`; `Infinity` if time changes nothing. */
  get wakeAt(): number {
    const line = this.state;
    switch (line.state) {
      case "authorizing":
      case "connecting":
        return line.deadline;
      case "waiting":
        return line.retryAt;
      case "closed":
        return Infinity;
      case "open":
        return Math.min(silentAt(line), line.replyBy, line.refreshAt, line.trial.at);
    }
  }

  handle(event: LineEvent): void {
    const line = this.state;
    if (line.state === "closed") return;
    if (event.type === "close") return this.#finish(null);
    switch (line.state) {
      case "authorizing":
        return this.#whileAuthorizing(line.deadline, event);
      case "connecting":
        return this.#whileConnecting(line, event);
      case "open":
        return this.#whileOpen(line, event);
      case "waiting": {
        const due = event.type === "tick" && this.#shell.now() >= line.retryAt;
        if (event.type === "start" || due || (event.type === "wake" && !line.ordered)) this.#begin(line.reason);
      }
    }
  }

  #whileAuthorizing(deadline: number, event: LineEvent): void {
    if (event.type === "token") {
      this.#expiresAt = event.expiresAt;
      this.#begin("a token was fetched");
    } else if (event.type === "token-failed") {
      this.#wait(event.reason);
    } else if (event.type === "tick" && this.#shell.now() >= deadline) {
      this.#wait("the token did not come in time");
    }
  }

  #whileConnecting(line: Extract<State, { state: "connecting" }>, event: LineEvent): void {
    const next = (ending: Ending) => {
      const [wire] = line.rest;
      if (wire && judge(ending) === "wire") this.#connect(line.rest, `${line.wire}: ${ending.reason}`);
      else this.#follow(ending);
    };
    if (event.type === "tick" && this.#shell.now() >= line.deadline) return next(swallowed("welcome"));
    if (!("from" in event) || event.from !== line.link) return;
    if (event.type === "welcome") this.#open(line.wire, line.link, event.heartbeatMs, false, line.reason);
    else if (event.type === "drain") this.#drained(event.afterMs);
    else if (event.type === "ended") next(event.ending);
  }

  #whileOpen(line: Open, event: LineEvent): void {
    const { settings, now } = this.#shell;
    if ("from" in event && event.from !== line.link) return this.#onTrial(line, event);
    switch (event.type) {
      case "heard":
        line.heardAt = now();
        line.pinged = false;
        return;
      case "asked":
        line.replyBy = Math.min(line.replyBy, now() + (line.proven ? settings.replyMs : this.#proveMs));
        return;
      case "answered":
        this.#refusals = 0;
        line.proven = true;
        line.replyBy = event.more ? now() + settings.replyMs : Infinity;
        return;
      case "token":
        this.#expiresAt = event.expiresAt;
        line.refreshAt = refreshAt(event.expiresAt, now(), settings.refreshMs);
        return this.#shell.authenticate();
      case "token-failed":
        // The old token may still serve; if not, the server says so.
        line.refreshAt = now() + settings.replyMs;
        return;
      case "token-refused":
        return this.#follow({ code: 401, reason: "the fresh token was refused" });
      case "wake":
        // Whether the line survived is not left to the next heartbeat.
        line.replyBy = Math.min(line.replyBy, now() + settings.proveMs);
        return this.#shell.ping(line.link);
      case "drain":
        return this.#drained(event.afterMs);
      case "ended":
        return this.#lost(line, event.ending, false);
      case "tick":
        return this.#onTime(line);
    }
  }

  #onTime(line: Open): void {
    const now = this.#shell.now();
    if (now >= line.replyBy) {
      this.#lost(line, swallowed("reply"), true);
    } else if (now >= silentAt(line)) {
      if (line.pinged) return this.#lost(line, { code: 4408, reason: "heartbeats are missing" }, true);
      line.pinged = true;
      this.#shell.ping(line.link);
    } else if (now >= line.refreshAt) {
      line.refreshAt = Infinity;
      this.#shell.fetchToken();
    } else if (now >= line.trial.at) {
      if (line.trial.link) return this.#endTrial(line);
      const { settings, open } = this.#shell;
      line.trial = { at: now + settings.proveMs, link: open(settings.wires[0]!) };
    }
  }

  /** The better wire is open beside the line. It has to carry a ping and its reply before the line moves over. */
  #onTrial(line: Open, event: Extract<LineEvent, { from: Wire }>): void {
    const { trial } = line;
    if (event.from !== trial.link) return;
    switch (event.type) {
      case "welcome":
        trial.heartbeatMs = event.heartbeatMs;
        return this.#shell.ping(trial.link);
      case "answered":
        this.#flaps = 0;
        this.#returnMs = this.#shell.settings.returnMs;
        line.trial = NO_TRIAL;
        this.#leave();
        return this.#open(this.#shell.settings.wires[0]!, trial.link, trial.heartbeatMs, true, "the better wire works again");
      case "drain":
      case "ended":
        return this.#endTrial(line);
    }
  }

  #endTrial(line: Open): void {
    line.trial.link?.close();
    this.#returnMs = Math.min(this.#returnMs * 2, RETURN_MS_MAX);
    line.trial = this.#planTrial(line.wire);
  }

  #planTrial(wire: WireName): Trial {
    const { now, random, settings } = this.#shell;
    // Half of it by chance, so that clients that lost the wire together do not come back together.
    return wire === settings.wires[0] ? NO_TRIAL : { at: now() + this.#returnMs * (0.5 + random()) };
  }

  #begin(reason: string): void {
    const { now, settings, fetchToken } = this.#shell;
    if (this.#expiresAt > now()) return this.#connect(this.#plan(this.#preferred, this.#failures), reason);
    this.#leave();
    this.state = { state: "authorizing", deadline: now() + settings.replyMs };
    fetchToken();
  }

  #plan(preferred: WireName, attempt: number): readonly WireName[] {
    return plan(this.#shell.settings.wires, preferred, attempt);
  }

  #connect(wires: readonly WireName[], reason: string): void {
    const { now, open } = this.#shell;
    const [wire, ...rest] = wires as readonly [WireName, ...WireName[]];
    this.#leave();
    this.state = { state: "connecting", wire, link: open(wire), rest, reason, deadline: now() + this.#proveMs };
  }

  /** A slow network swallows nothing: each failed attempt leaves more time, up to four times as much. */
  get #proveMs(): number {
    return this.#shell.settings.proveMs * Math.min(1 + this.#failures, 4);
  }

  #open(wire: WireName, link: Wire, heartbeatMs = HEARTBEAT_MS, proven: boolean, reason: string): void {
    const { now, settings, resume } = this.#shell;
    this.#preferred = wire;
    this.state = {
      state: "open",
      wire,
      link,
      since: now(),
      heartbeatMs,
      heardAt: now(),
      pinged: false,
      replyBy: Infinity,
      proven,
      refreshAt: refreshAt(this.#expiresAt, now(), settings.refreshMs),
      trial: this.#planTrial(wire),
    };
    resume(wire, reason);
  }

  #drained(afterMs: number): void {
    this.#failures = this.#flaps = 0;
    this.#leave();
    // The server spread its clients already; more chance would only delay them.
    this.state = { state: "waiting", retryAt: this.#shell.now() + afterMs, ordered: true, reason: "the server is going away" };
  }

  /** An open line ended, or is given up since it is `silent`. */
  #lost(line: Open, ending: Ending, silent: boolean): void {
    const { now, settings } = this.#shell;
    const stable = now() - line.since >= settings.stableMs;
    this.#flaps = silent || !stable ? this.#flaps + 1 : 0;
    if (stable) this.#failures = 0;
    const next = settings.wires[settings.wires.indexOf(line.wire) + 1];
    const swallows = silent && !line.proven;
    if (next && (swallows || this.#flaps >= FLAPS_MAX)) {
      this.#flaps = 0;
      this.#preferred = next;
      if (swallows) return this.#connect(this.#plan(next, 0), `${line.wire}: ${ending.reason}`);
    }
    this.#follow(ending);
  }

  /** Does as the ending says, where no other wire is to be tried at once. */
  #follow(ending: Ending): void {
    const { reason, problem } = ending;
    switch (judge(ending)) {
      case "wire":
      case "server":
        return this.#wait(reason, ending.afterMs);
      case "credential":
        if (!this.#hasToken || this.#refusals >= REFUSALS_MAX) {
          return this.#finish(new EverwireError("unauthorized", `the server wants a valid token (${reason}); give one`));
        }
        this.#expiresAt = 0;
        return this.#refusals++ ? this.#wait(reason) : this.#begin(reason);
      case "stop":
        return this.#finish(problem ? refused("the line", problem) : new EverwireError("refused", `the server ended the line: ${reason}`));
    }
  }

  #wait(reason: string, afterMs?: number): void {
    const { now, random, settings } = this.#shell;
    const jitter = backoffMs(random(), this.#failures++, settings.backoffMs, afterMs ? settings.backoffMs : settings.backoffMaxMs);
    this.#leave();
    this.state = { state: "waiting", retryAt: now() + (afterMs ?? 0) + jitter, ordered: !!afterMs, reason };
  }

  #finish(error: EverwireError | null): void {
    this.#leave();
    this.state = { state: "closed", error };
    this.#shell.finish(error);
  }

  /** Lets go of whatever is open. */
  #leave(): void {
    const line = this.state;
    if (line.state === "open") {
      this.#shell.suspend();
      line.trial.link?.close();
    }
    if (line.state === "open" || line.state === "connecting") line.link.close();
  }
}

/**
 * The wires of one cycle of attempts. The preferred one comes first. The others rotate with the attempts, since a
 * failure that may be the server's ends a cycle early, and else the last ones would never have their turn.
 */
export function plan(wires: readonly WireName[], preferred: WireName, attempt: number): readonly WireName[] {
  const first = wires.includes(preferred) ? preferred : wires[0]!;
  const others = wires.filter((wire) => wire !== first);
  const turn = attempt % others.length;
  return [first, ...others.slice(turn), ...others.slice(0, turn)];
}

/** When a ping has to find out whether the line still lives, and after it, when it is given up. */
function silentAt({ heardAt, heartbeatMs, pinged }: Open): number {
  return heardAt + heartbeatMs * (pinged ? 2 : 1.5);
}

function swallowed(what: string): Ending {
  return { code: 200, reason: `swallowed: no ${what} came in time` };
}

const NO_TRIAL: Trial = { at: Infinity };

/** So often in a row may an open wire go silent or end soon before a lesser one takes its place. */
const FLAPS_MAX = 3;

/** So often in a row may a fresh credential be refused. */
const REFUSALS_MAX = 2;

/** The longest stay on a lesser wire before the better one is tried again. */
const RETURN_MS_MAX = 3_600_000;
