// A room is two channels on the one line:
//
//     chat/{id}         what is said; read all the time, so that other rooms can show what is new
//     chat/{id}/here    who is here, and who is typing; read only while one looks at the room

/** Earlier messages to begin with. */
const EARLIER = 50;
/** A typing notice is sent no more often than this, and believed for twice as long. */
const TYPING_MS = 1_500;

export class Room {
  /** What was said, oldest first: `{ id, from, text, time }`, or `{ notice }`. */
  said = [];
  /** What we said and the server does not have yet; `failed` if it never will. */
  waiting = [];
  /** How many came while one did not look. */
  unread = 0;
  /** Who is here, by name. */
  members = [];
  /** Who is typing, each with the timer that ends it. */
  typing = new Map();
  /** Called with each message that is said, and after any other change. */
  onSaid = (message) => {};
  onChange = () => {};

  #line;
  #name;
  #messages;
  #here = null;
  #typedAt = 0;

  constructor(line, id, title, name) {
    Object.assign(this, { id, title });
    this.#line = line;
    this.#name = name;
    this.#messages = line.channel(`chat/${id}`, { last: EARLIER });
    this.#messages.on("entry", ({ data, time }) => isMessage(data) && this.#onMessage({ id: data.id, from: data.from, text: data.text, time }));
    this.#messages.on("gap", () => this.#add({ notice: "Some messages are missing here: the server does not have them any more." }));
  }

  enter() {
    this.unread = 0;
    // `echo: false`, since it is no news to us that we are typing.
    this.#here = this.#line.channel(`chat/${this.id}/here`, { presence: { user: this.#name }, echo: false });
    this.#here.on("presence", (members) => this.#onPresence(members));
    this.#here.on("entry", ({ data }) => isName(data?.from) && this.#onTyping(data.from));
  }

  leave() {
    this.#here.close();
    this.#here = null;
    this.members = [];
  }

  /** Says it: shown at once, and sent when there is a line, again and again until the server has it. */
  say(text) {
    const message = { id: crypto.randomUUID(), from: this.#name, text };
    this.waiting.push(message);
    this.onChange();
    this.#typedAt = 0;
    this.#messages.publish(message).catch(() => {
      message.failed = true;
      this.onChange();
    });
  }

  /** A key was pressed. */
  type() {
    if (Date.now() < this.#typedAt + TYPING_MS) return;
    this.#typedAt = Date.now();
    // A notice that cannot be sent is nothing to tell of.
    this.#here.publish({ from: this.#name }).catch(() => {});
  }

  #onMessage(message) {
    this.waiting = this.waiting.filter(({ id }) => id !== message.id);
    this.#endTyping(message.from);
    if (!this.#here) this.unread += 1;
    this.#add(message);
  }

  #onPresence(members) {
    // `~` before a name says that nobody vouches for it. Here that holds for all.
    this.members = [...members.keys()].map((user) => user.replace(/^~/, "")).filter(isName).sort();
    this.onChange();
  }

  #onTyping(from) {
    this.#endTyping(from);
    this.typing.set(from, setTimeout(() => this.#endTyping(from), 2 * TYPING_MS));
    this.onChange();
  }

  #endTyping(from) {
    clearTimeout(this.typing.get(from));
    if (this.typing.delete(from)) this.onChange();
  }

  #add(message) {
    this.said.push(message);
    this.onSaid(message);
    this.onChange();
  }
}

/** Whoever may publish may publish anything: what is no message is not shown, and of a message no more than belongs to it. */
const isMessage = (data) => isName(data?.from) && typeof data.text === "string";
const isName = (name) => typeof name === "string" && name !== "";
