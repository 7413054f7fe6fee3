// Joins the chat: one line to the server, and two rooms on it.

import { connect } from "./everwire.js";
import { Room } from "./room.js";
import { View } from "./view.js";

const ROOMS = { lobby: "Lobby", garden: "Garden" };

// This file is two folders below the server, also where that shares a host and is below a path of it.
const SERVER = new URL("../..", import.meta.url);

// `?wire=long-poll` uses that wire alone; else the client takes the best that the network lets through.
const wire = new URLSearchParams(location.search).get("wire");

const view = new View();
view.askName((name) => {
  const line = connect(SERVER, wire ? { wires: [wire] } : {});
  const showLine = () => view.showLine(line.state, line.wire);
  line.on("state", showLine);
  line.on("wire", showLine);
  showLine();

  // Whoever leaves the page is gone at once, not when the server has missed them for a while.
  addEventListener("pagehide", () => line.close());
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

  let current = null;
  const enter = (room) => {
    current?.leave();
    current = room;
    room.enter();
    view.showRoom(room);
  };
  const rooms = Object.entries(ROOMS).map(([id, title]) => new Room(line, id, title, name));
  for (const room of rooms) view.addRoom(room, () => room !== current && enter(room));
  view.onText = () => current.type();
  view.onSay = (text) => text && current.say(text);
  enter(rooms[0]);
});
