// Cuts a connection as a network does that breaks: with a TCP reset where one can be sent.

/**
 * Resets a socket of `node:net`, and destroys it.
 *
 * `resetAndDestroy` on a socket whose end is being sent closes nothing: libuv refuses it, Node.js counts the handle as
 * closing all the same, and the process spins for ever when it should end (v20). Such a socket, as one that is not
 * connected yet, is only destroyed.
 */
export function reset(socket) {
  if (socket.connecting || socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}
