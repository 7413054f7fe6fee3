/** Who is in a channel of the fake server: members with their sessions, and the log of joins and leaves. */
import type { FakeClock } from "./fake_clock.js";
import type { Message, Session } from "./fake_server.js";

interface Change {
  readonly offset: string;
  readonly ev: "join" | "leave";
  readonly user: string;
  readonly info?: unknown;
}

/** How a session wants to be present. */
interface Wish {
  readonly user?: string;
  readonly info?: unknown;
  readonly offset?: string;
  readonly join?: boolean;
}

const LINGER_MS = 3_000;

export class FakePresence {
  readonly #members = new Map<string, { info: unknown; readonly sessions: Set<object> }>();
  readonly #watchers = new Set<Session>();
  #log: Change[] = [];
  #length = 0;
  #oldest: string;

  constructor(
    readonly channel: string,
    readonly offsetOf: (sequence: number) => string,
    readonly clock: FakeClock,
  ) {
    this.#oldest = offsetOf(0);
  }

  snapshot(): Message {
    const members = [...this.#members].map(([user, { info, sessions }]) => ({ user, ...(info !== undefined && { info }), count: sessions.size }));
    return { offset: this.offsetOf(this.#length), total: members.length, members };
  }

  /** Lets a session watch, and be there unless it does not want to; `then` is what follows the answer. */
  enter(session: Session, wish: Wish): { answer: Message; then: () => void } {
    if (wish.join !== false) this.join(session, `~${wish.user ?? session.id}`, wish.info);
    this.#watchers.add(session);
    const { offset } = wish;
    const resumes = offset !== undefined && offset >= this.#oldest && offset <= this.offsetOf(this.#length);
    if (!resumes) return { answer: this.snapshot(), then: () => {} };
    const missed = this.#log.filter((change) => change.offset > offset);
    return { answer: { offset }, then: () => missed.forEach((change) => this.#tell(session, change)) };
  }

  /** `lease`, which stands for a session, makes `user` a member, or brings other `info`. */
  join(lease: object, user: string, info?: unknown): void {
    const known = this.#members.get(user);
    const member = known ?? { info, sessions: new Set<object>() };
    member.sessions.add(lease);
    const isNews = !known || JSON.stringify(known.info) !== JSON.stringify(info);
    member.info = info;
    this.#members.set(user, member);
    if (isNews) this.#append({ ev: "join", user, ...(info !== undefined && { info }) });
  }

  leave(session: Session): void {
    this.#watchers.delete(session);
    this.part(session);
  }

  /** `lease`, which stands for a session, is gone. */
  part(lease: object): void {
    for (const [user, { sessions }] of this.#members) {
      if (!sessions.delete(lease) || sessions.size > 0) continue;
      this.clock.after(LINGER_MS, () => {
        if (sessions.size > 0 || !this.#members.delete(user)) return;
        this.#append({ ev: "leave", user });
      });
    }
  }

  /** Forgets the log; who watches is told of a gap. */
  trim(): void {
    this.#log = [];
    this.#oldest = this.offsetOf(this.#length);
    const gap = { ev: "gap", channel: this.channel, oldest: this.#oldest, newest: this.#oldest, presence: true };
    for (const session of this.#watchers) session.sink.message(gap);
  }

  #append(change: Omit<Change, "offset">): void {
    this.#length += 1;
    const whole = { ...change, offset: this.offsetOf(this.#length) };
    this.#log.push(whole);
    for (const session of this.#watchers) this.#tell(session, whole);
  }

  #tell(session: Session, change: Change): void {
    session.sink.message({ channel: this.channel, time: this.clock.now, ...change });
  }
}
