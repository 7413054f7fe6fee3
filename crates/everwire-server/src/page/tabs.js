/**
 * Several windows of this page in one browser.
 *
 * A browser opens six HTTP/1.1 connections to a host, over all its windows, and event stream, ndjson and long
 * poll hold one each: a second page would leave none to publish with. So the page that was looked at last has
 * all five wires; the others let go of those three until they are looked at again. Nothing is lost by that:
 * it is what cursors are for.
 *
 *     focused ──"here"──▶ all others: letGo()   … focused again ──▶ comeBack(), "here"
 */
export function shareConnections({ letGo, comeBack }) {
  const pages = new BroadcastChannel('everwire-page');
  let away = false;

  pages.onmessage = () => {
    if (!away) letGo();
    away = true;
  };
  window.addEventListener('focus', () => {
    if (!away) return;
    away = false;
    pages.postMessage('here');
    comeBack();
  });
  pages.postMessage('here');
}
