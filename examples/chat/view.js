// What can be seen: it is told of rooms, and tells what people do by `onText` and `onSay`.

const WIRES = { websocket: "WebSocket", "event-stream": "event stream", ndjson: "ndjson stream", "long-poll": "long poll" };

const find = (id) => document.getElementById(id);

export class View {
  /** Somebody is typing. */
  onText = () => {};
  /** Somebody said something. */
  onSay = (text) => {};

  #room = null;
  #buttons = new Map();

  constructor() {
    find("text").addEventListener("input", () => this.onText());
    find("say").addEventListener("submit", (event) => {
      event.preventDefault();
      const { value } = find("text");
      find("text").value = "";
      this.onSay(value.trim());
    });
  }

  /** Asks for a name once a tab: a tab that is loaded again is the same person. */
  askName(onName) {
    const begin = (name) => {
      find("join").hidden = true;
      find("chat").hidden = false;
      onName(name);
      find("text").focus();
    };
    const known = sessionStorage.getItem("name");
    if (known) return begin(known);
    find("join").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = find("name").value.trim();
      sessionStorage.setItem("name", name);
      begin(name);
    });
  }

  addRoom(room, onEnter) {
    const button = element("button", { type: "button" }, room.title, element("b", { className: "unread" }));
    button.addEventListener("click", () => {
      onEnter();
      find("text").focus();
    });
    this.#buttons.set(room, button);
    find("rooms").append(element("li", {}, button));
    room.onSaid = (message) => room === this.#room && this.#append(message);
    room.onChange = () => this.#update(room);
  }

  showRoom(room) {
    this.#room = room;
    for (const [other, button] of this.#buttons) button.setAttribute("aria-current", other === room ? "page" : "false");
    find("room-title").textContent = room.title;
    find("messages").replaceChildren();
    for (const message of room.said) this.#append(message);
    this.#update(room);
  }

  /** Where the line stands, and on which wire. */
  showLine({ state, error }, wire) {
    find("line").dataset.state = state;
    find("line").lastElementChild.textContent =
      state === "open" ? `connected over ${WIRES[wire]}` : state === "waiting" ? "offline, trying again" : state === "closed" ? `ended: ${error?.message}` : "connecting";
  }

  #append(message) {
    const list = find("messages");
    stayAtEnd(() => list.append(messageItem(message, list.lastElementChild)));
  }

  #update(room) {
    const unread = this.#buttons.get(room).lastElementChild;
    unread.textContent = room.unread || "";
    unread.ariaLabel = room.unread ? `${room.unread} new` : null;
    if (room !== this.#room) return;
    stayAtEnd(() => find("waiting").replaceChildren(...room.waiting.map((message) => messageItem(message))));
    find("here").replaceChildren(...room.members.map((name) => element("li", {}, face(name), name)));
    const names = [...room.typing.keys()];
    find("typing").textContent = names.length === 0 ? "" : `${names.join(", ")} ${names.length === 1 ? "is" : "are"} typing …`;
  }
}

/** Does something to what is said. Who reads the newest goes on doing so; who has scrolled back is left where they are. */
function stayAtEnd(change) {
  const said = find("said");
  const atEnd = said.scrollHeight - said.scrollTop - said.clientHeight < 60;
  change();
  if (atEnd) said.scrollTop = said.scrollHeight;
}

function messageItem({ from, text, time, notice, failed }, before) {
  if (notice) return element("li", { className: "notice" }, notice);
  const item = element("li", {}, face(from), element("b", {}, from), whenItem(time, failed), element("p", {}, text));
  item.dataset.from = from;
  if (before?.dataset.from === from) item.classList.add("goes-on");
  return item;
}

function whenItem(time, failed) {
  if (!time) return element("small", {}, failed ? "could not be sent" : "waiting for the line");
  const date = new Date(time);
  return element("time", { dateTime: date.toISOString() }, date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
}

/** A letter in a colour that belongs to the name. */
function face(name) {
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  const item = element("i", { className: "face", ariaHidden: "true" }, name[0].toUpperCase());
  item.style.setProperty("--hue", hue);
  return item;
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
