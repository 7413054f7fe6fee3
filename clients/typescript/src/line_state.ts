/**
 * The life of a line: one union, and every transition of it. No socket, clock or chance is touched here.
 *
 *     authorizing ─▶ connecting ─▶ open ─▶ waiting ─▶ authorizing or connecting …      any ─▶ closed
 *       token          welcome      lost     retryAt
 *
 *     step(state, event, moment) ─▶ the next state, and effects that the shell carries out in order
 *     wakeAt(state)              ─▶ when the shell has to send `tick`
 */
import { backoffMs } from "./backoff.js";
import { type Credential, needsToken, refreshAt } from "./credential.js";
import { type Ending, judge, type Verdict } from "./ending.js";
import { EverwireError } from "./error.js";
import type { Settings, WireName } from "./settings.js";

/** Where a line stands. Times are Unix milliseconds. */
export type LineState =
  /** A token is being fetched, until `deadline`. */
  | { readonly state: "authorizing"; readonly facts: Facts; readonly deadline: number }
  /** `wire` was opened and has to welcome us until `deadline`; `rest` is to be tried after it. */
  | {
      readonly state: "connecting";
      readonly facts: Facts;
      readonly wire: WireName;
      readonly rest: readonly WireName[];
      readonly reason: string;
      readonly deadline: number;
    }
  /** Messages flow. */
  | Open
  /** The next attempt is at `retryAt`; `ordered` if the server named that time, so that no wake-up shortens it. */
  | {
      readonly state: "waiting";
      readonly facts: Facts;
      readonly retryAt: number;
      readonly ordered: boolean;
      readonly reason: string;
    }
  /** The end; `error` is `null` if the program asked for it. */
  | { readonly state: "closed"; readonly facts: Facts; readonly error: EverwireError | null };

/** An open line. */
export interface Open {
  readonly state: "open";
  readonly facts: Facts;
  readonly wire: WireName;
  /** The number of the wire; what others still say is not heard. */
  readonly serial: number;
  readonly since: number;
  readonly heardAt: number;
  readonly heartbeatMs: number;
  /** A ping was sent since something was heard. */
  readonly pinged: boolean;
  /** When the oldest unanswered command has to be answered. */
  readonly replyBy: number | null;
  /** Whether a reply came on this wire: it carries messages both ways. */
  readonly proven: boolean;
  readonly refreshAt: number | null;
  readonly trial: Trial;
}

/** The way back to a better wire. */
export type Trial =
  | { readonly trial: "none" }
  | { readonly trial: "planned"; readonly at: number }
  | {
      readonly trial: "running";
      readonly wire: WireName;
      readonly serial: number;
      readonly deadline: number;
      readonly heartbeatMs: number;
    };

/** What outlives a single attempt. */
export interface Facts {
  /** The number of the wire opened last. */
  readonly serial: number;
  /** Attempts that failed since a line was good. */
  readonly attempt: number;
  /** Times in a row that an open line went silent, or ended soon. */
  readonly flaps: number;
  /** Refusals of the credential in a row. */
  readonly refusals: number;
  /** The wire to try first. */
  readonly preferred: WireName;
  readonly credential: Credential;
  readonly returnMs: number;
}

/** What happens to a line. Those with `serial` come from one wire. */
export type LineEvent =
  | { readonly type: "start" }
  | { readonly type: "tick" }
  | { readonly type: "wake" }
  | { readonly type: "renew" }
  | { readonly type: "close" }
  | { readonly type: "token"; readonly expiresAt: number | null }
  | { readonly type: "token-failed"; readonly reason: string }
  | { readonly type: "token-refused" }
  | { readonly type: "welcome"; readonly serial: number; readonly heartbeatMs: number | null }
  | { readonly type: "heard"; readonly serial: number }
  | { readonly type: "asked" }
  | { readonly type: "answered"; readonly serial: number; readonly more: boolean }
  | { readonly type: "drain"; readonly serial: number; readonly afterMs: number }
  | { readonly type: "ended"; readonly serial: number; readonly ending: Ending };

/** What the shell has to do. */
export type Effect =
  | { readonly do: "open"; readonly wire: WireName; readonly serial: number }
  | { readonly do: "close"; readonly serial: number; readonly code: number }
  | { readonly do: "ping"; readonly serial: number }
  | { readonly do: "fetch-token" }
  | { readonly do: "authenticate" }
  /** What was sent and not answered has to be sent again on the next wire. */
  | { readonly do: "suspend" }
  /** Wire `serial` is the line now: subscribe, and send what waits. */
  | { readonly do: "resume"; readonly serial: number; readonly wire: WireName; readonly reason: string }
  /** The line is over: tell all who wait. */
  | { readonly do: "finish"; readonly error: EverwireError | null };

/** When it is, how chance fell (from 0 up to 1), and what is set. */
export interface Moment {
  readonly now: number;
  readonly roll: number;
  readonly settings: Settings;
}

export type Step = readonly [LineState, readonly Effect[]];

/** A line before its `start`. */
export function initial(preferred: WireName, withToken: boolean, returnMs: number): LineState {
  const credential: Credential = { state: withToken ? "wanted" : "none" };
  const facts: Facts = { serial: 0, attempt: 0, flaps: 0, refusals: 0, preferred, credential, returnMs };
  return { state: "waiting", facts, retryAt: 0, ordered: false, reason: "the line was started" };
}

/** The next state, and what has to be done. */
export function step(line: LineState, event: LineEvent, at: Moment): Step {
  if (line.state === "closed") return [line, []];
  if (event.type === "close") return finish(line, null);
  switch (line.state) {
    case "authorizing":
      return whileAuthorizing(line, event, at);
    case "connecting":
      return whileConnecting(line, event, at);
    case "open":
      return whileOpen(line, event, at);
    case "waiting": {
      const due = event.type === "tick" && at.now >= line.retryAt;
      if (event.type === "start" || due || (event.type === "wake" && !line.ordered)) return begin(line.facts, line.reason, at);
      return [line, []];
    }
  }
}

/** When the shell has to send `tick`; `null` if time changes nothing. */
export function wakeAt(line: LineState): number | null {
  switch (line.state) {
    case "authorizing":
    case "connecting":
      return line.deadline;
    case "waiting":
      return line.retryAt;
    case "closed":
      return null;
    case "open":
      return Math.min(
        line.heardAt + line.heartbeatMs * (line.pinged ? 2 : 1),
        line.replyBy ?? Infinity,
        line.refreshAt ?? Infinity,
        line.trial.trial === "planned" ? line.trial.at : Infinity,
        line.trial.trial === "running" ? line.trial.deadline : Infinity,
      );
  }
}

/**
 * The wires of one cycle of attempts. The preferred one comes first. The others rotate with the attempts, since a
 * failure that may be the server's ends a cycle early, and else the last ones would never have their turn.
 */
export function plan(wires: readonly WireName[], preferred: WireName, attempt: number): readonly WireName[] {
  const first = wires.includes(preferred) ? preferred : wires[0]!;
  const others = wires.filter((wire) => wire !== first);
  const turn = others.length > 0 ? attempt % others.length : 0;
  return [first, ...others.slice(turn), ...others.slice(0, turn)];
}

function begin(facts: Facts, reason: string, at: Moment): Step {
  if (needsToken(facts.credential, at.now)) {
    return [{ state: "authorizing", facts, deadline: at.now + at.settings.replyMs }, [{ do: "fetch-token" }]];
  }
  return connect(facts, plan(at.settings.wires, facts.preferred, facts.attempt), reason, at);
}

function connect(facts: Facts, wires: readonly WireName[], reason: string, at: Moment): Step {
  const [wire, ...rest] = wires as readonly [WireName, ...WireName[]];
  const serial = facts.serial + 1;
  const deadline = at.now + proveMs(facts, at);
  return [
    { state: "connecting", facts: { ...facts, serial }, wire, rest, reason, deadline },
    [{ do: "open", wire, serial }],
  ];
}

/** A slow network swallows nothing: each failed attempt leaves more time, up to four times as much. */
function proveMs(facts: Facts, at: Moment): number {
  return at.settings.proveMs * Math.min(1 + facts.attempt, 4);
}

function whileAuthorizing(line: Extract<LineState, { state: "authorizing" }>, event: LineEvent, at: Moment): Step {
  switch (event.type) {
    case "token":
      return begin({ ...line.facts, credential: { state: "held", expiresAt: event.expiresAt } }, "a token was fetched", at);
    case "token-failed":
      return wait(line.facts, event.reason, null, at);
    case "tick":
      return at.now >= line.deadline ? wait(line.facts, "the token did not come in time", null, at) : [line, []];
    default:
      return [line, []];
  }
}

function whileConnecting(line: Extract<LineState, { state: "connecting" }>, event: LineEvent, at: Moment): Step {
  const { facts, wire } = line;
  const next = (verdict: Verdict): Step => {
    if (verdict.blame === "wire" && line.rest.length > 0) return connect(facts, line.rest, `${wire}: ${verdict.reason}`, at);
    return follow(line, verdict, at);
  };
  switch (event.type) {
    case "tick": {
      if (at.now < line.deadline) return [line, []];
      const [state, effects] = next({ blame: "wire", reason: "swallowed: no welcome came in time" });
      return [state, [{ do: "close", serial: facts.serial, code: 4408 }, ...effects]];
    }
    case "welcome":
      if (event.serial !== facts.serial) return [line, []];
      return opened(facts, wire, facts.serial, event.heartbeatMs, false, line.reason, at);
    case "drain":
      if (event.serial !== facts.serial) return [line, []];
      return drained(line, event.afterMs, at);
    case "ended":
      return event.serial === facts.serial ? next(judge(event.ending)) : [line, []];
    default:
      return [line, []];
  }
}

function opened(facts: Facts, wire: WireName, serial: number, heartbeatMs: number | null, proven: boolean, reason: string, at: Moment): Step {
  const open: Open = {
    state: "open",
    facts: { ...facts, preferred: wire },
    wire,
    serial,
    since: at.now,
    heardAt: at.now,
    heartbeatMs: heartbeatMs ?? at.settings.heartbeatMs,
    pinged: false,
    replyBy: null,
    proven,
    refreshAt: refreshAt(facts.credential, at.now, at.settings.refreshMs),
    trial: planTrial(wire, facts.returnMs, at),
  };
  return [open, [{ do: "resume", serial, wire, reason }]];
}

function planTrial(wire: WireName, returnMs: number, at: Moment): Trial {
  // Half of it by chance, so that clients that lost the wire together do not come back together.
  const delay = returnMs * (0.5 + at.roll);
  return wire === at.settings.wires[0] ? { trial: "none" } : { trial: "planned", at: at.now + delay };
}

function whileOpen(line: Open, event: LineEvent, at: Moment): Step {
  if ("serial" in event && event.serial !== line.serial) return onTrial(line, event, at);
  switch (event.type) {
    case "heard":
      return [{ ...line, heardAt: at.now, pinged: false }, []];
    case "asked": {
      const replyMs = line.proven ? at.settings.replyMs : proveMs(line.facts, at);
      return [{ ...line, replyBy: line.replyBy ?? at.now + replyMs }, []];
    }
    case "answered": {
      const facts = { ...line.facts, refusals: 0 };
      return [{ ...line, facts, proven: true, replyBy: event.more ? at.now + at.settings.replyMs : null }, []];
    }
    case "token": {
      const credential: Credential = { state: "held", expiresAt: event.expiresAt };
      const refresh = refreshAt(credential, at.now, at.settings.refreshMs);
      return [{ ...line, facts: { ...line.facts, credential }, refreshAt: refresh }, [{ do: "authenticate" }]];
    }
    case "token-failed":
      // The old token may still serve; if not, the server says so.
      return [{ ...line, refreshAt: at.now + at.settings.replyMs }, []];
    case "token-refused":
      return lost(line, { blame: "credential", reason: "the fresh token was refused" }, false, at);
    case "wake": {
      // Whether the line survived is not left to the next heartbeat.
      const replyBy = Math.min(line.replyBy ?? Infinity, at.now + at.settings.proveMs);
      return [{ ...line, pinged: true, replyBy }, [{ do: "ping", serial: line.serial }]];
    }
    case "renew": {
      const [state, effects] = connect(line.facts, plan(at.settings.wires, line.wire, 0), "a channel was joined again", at);
      return [state, [...leave(line, 1000), ...effects]];
    }
    case "drain":
      return drained(line, event.afterMs, at);
    case "ended":
      return lost(line, judge(event.ending), false, at);
    case "tick":
      return onTime(line, at);
    default:
      return [line, []];
  }
}

function onTime(line: Open, at: Moment): Step {
  const { now } = at;
  if (line.replyBy !== null && now >= line.replyBy) {
    return lost(line, { blame: "wire", reason: "swallowed: no reply came in time" }, true, at);
  }
  if (now >= line.heardAt + 2 * line.heartbeatMs) {
    return lost(line, { blame: "server", reason: "heartbeats are missing", afterMs: null }, true, at);
  }
  if (!line.pinged && now >= line.heardAt + line.heartbeatMs) {
    return [{ ...line, pinged: true }, [{ do: "ping", serial: line.serial }]];
  }
  if (line.refreshAt !== null && now >= line.refreshAt) return [{ ...line, refreshAt: null }, [{ do: "fetch-token" }]];
  if (line.trial.trial === "planned" && now >= line.trial.at) return tryBetter(line, at);
  if (line.trial.trial === "running" && now >= line.trial.deadline) return trialFailed(line, line.trial, at);
  return [line, []];
}

function tryBetter(line: Open, at: Moment): Step {
  const wire = at.settings.wires[0]!;
  const serial = line.facts.serial + 1;
  const trial: Trial = { trial: "running", wire, serial, deadline: at.now + at.settings.proveMs, heartbeatMs: line.heartbeatMs };
  return [{ ...line, facts: { ...line.facts, serial }, trial }, [{ do: "open", wire, serial }]];
}

/** The better wire is open beside the line. It has to carry a ping and its reply before the line moves over. */
function onTrial(line: Open, event: Extract<LineEvent, { serial: number }>, at: Moment): Step {
  const { trial } = line;
  if (trial.trial !== "running" || event.serial !== trial.serial) return [line, []];
  switch (event.type) {
    case "welcome": {
      const heartbeatMs = event.heartbeatMs ?? at.settings.heartbeatMs;
      return [{ ...line, trial: { ...trial, heartbeatMs } }, [{ do: "ping", serial: trial.serial }]];
    }
    case "answered": {
      const facts = { ...line.facts, returnMs: at.settings.returnMs, flaps: 0 };
      const [state, effects] = opened(facts, trial.wire, trial.serial, trial.heartbeatMs, true, "the better wire works again", at);
      return [state, [{ do: "suspend" }, { do: "close", serial: line.serial, code: 1000 }, ...effects]];
    }
    case "drain":
    case "ended":
      return trialFailed(line, trial, at);
    case "heard":
      return [line, []];
  }
}

function trialFailed(line: Open, trial: Extract<Trial, { trial: "running" }>, at: Moment): Step {
  const returnMs = Math.min(line.facts.returnMs * 2, RETURN_MS_MAX);
  const state: Open = { ...line, facts: { ...line.facts, returnMs }, trial: planTrial(line.wire, returnMs, at) };
  return [state, [{ do: "close", serial: trial.serial, code: 1000 }]];
}

function drained(line: LineState, afterMs: number, at: Moment): Step {
  const facts: Facts = { ...line.facts, attempt: 0, flaps: 0 };
  // The server spread its clients already; more chance would only delay them.
  const retryAt = at.now + afterMs;
  return [{ state: "waiting", facts, retryAt, ordered: true, reason: "the server is going away" }, leave(line, 1000)];
}

/** An open line ended, or is given up. */
function lost(line: Open, verdict: Verdict, silent: boolean, at: Moment): Step {
  const stable = at.now - line.since >= at.settings.stableMs;
  const flaps = silent || !stable ? line.facts.flaps + 1 : 0;
  let facts: Facts = { ...line.facts, flaps, attempt: stable ? 0 : line.facts.attempt };
  const left = leave(line, silent ? 4408 : 1000);
  if (verdict.blame === "wire" || verdict.blame === "server") {
    const next = at.settings.wires[at.settings.wires.indexOf(line.wire) + 1];
    const swallows = silent && !line.proven;
    if (next !== undefined && (swallows || flaps >= FLAPS_MAX)) {
      facts = { ...facts, flaps: 0, preferred: next };
      if (swallows) {
        const [state, effects] = connect(facts, plan(at.settings.wires, next, 0), `${line.wire}: ${verdict.reason}`, at);
        return [state, [...left, ...effects]];
      }
    }
  }
  const [state, effects] = follow({ ...line, facts }, verdict, at);
  return [state, [...left, ...effects]];
}

/** Does as the verdict says, where no other wire is to be tried at once. */
function follow(line: LineState, verdict: Verdict, at: Moment): Step {
  switch (verdict.blame) {
    case "wire":
      return wait(line.facts, verdict.reason, null, at);
    case "server":
      return wait(line.facts, verdict.reason, verdict.afterMs, at);
    case "credential": {
      const refusals = line.facts.refusals + 1;
      if (line.facts.credential.state === "none" || refusals > REFUSALS_MAX) {
        const message = `the server wants another credential (${verdict.reason}); give a token that is valid`;
        return finish(line, new EverwireError("unauthorized", message));
      }
      const facts: Facts = { ...line.facts, refusals, credential: { state: "wanted" } };
      return refusals === 1 ? begin(facts, verdict.reason, at) : wait(facts, verdict.reason, null, at);
    }
    case "stop":
      return finish(line, verdict.error);
  }
}

function wait(facts: Facts, reason: string, afterMs: number | null, at: Moment): Step {
  const { backoffMs: base, backoffMaxMs } = at.settings;
  const attempt = facts.attempt + 1;
  const jitter = backoffMs(at.roll, facts.attempt, base, afterMs === null ? backoffMaxMs : base);
  const retryAt = at.now + (afterMs ?? 0) + jitter;
  return [{ state: "waiting", facts: { ...facts, attempt }, retryAt, ordered: afterMs !== null, reason }, []];
}

function finish(line: LineState, error: EverwireError | null): Step {
  return [{ state: "closed", facts: line.facts, error }, [...leave(line, 1000), { do: "finish", error }]];
}

/** Lets go of whatever is open. */
function leave(line: LineState, code: number): readonly Effect[] {
  if (line.state === "connecting") return [{ do: "close", serial: line.facts.serial, code }];
  if (line.state !== "open") return [];
  const effects: Effect[] = [{ do: "suspend" }, { do: "close", serial: line.serial, code }];
  if (line.trial.trial === "running") effects.push({ do: "close", serial: line.trial.serial, code: 1000 });
  return effects;
}

/** So often in a row may an open wire go silent or end soon before a lesser one takes its place. */
const FLAPS_MAX = 3;

/** So often in a row may a fresh credential be refused. */
const REFUSALS_MAX = 2;

/** The longest stay on a lesser wire before the better one is tried again. */
const RETURN_MS_MAX = 3_600_000;
