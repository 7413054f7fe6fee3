import { Channel, ROOT } from './channel.js';
import { Log } from './log.js';
import { LogStrip } from './log-strip.js';
import { Publisher } from './publisher.js';
import { shareConnections } from './tabs.js';
import { Wire } from './wire.js';
import { WireCard, resumeSentence, summary } from './wire-card.js';
import { eventStream } from './wires/event-stream.js';
import { longPoll } from './wires/long-poll.js';
import { ndjson } from './wires/ndjson.js';
import { polling } from './wires/polling.js';
import { websocket } from './wires/websocket.js';

/**
 * Puts the parts together: one channel, its log, a publisher, and five wires that read it side by side.
 *
 *     form ─▶ Publisher ─▶ POST /channels/…           five framings ─▶ Wire ─▶ Ledger ─▶ Log
 *                                                                       │
 *                                                      WireCard, LogStrip (they only look)
 */
const FRAMINGS = [websocket, eventStream, ndjson, longPoll, polling];
const page = (id) => document.getElementById(id);

page('root').textContent = ROOT.pathname;

/** What is watched now; replaced as a whole when the channel changes. */
let watched = null;

const cards = FRAMINGS.map((framing) => {
  const card = new WireCard(framing, page('wire-card'), {
    onSwitch: (wire) => (wire.state.name === 'cut' ? wire.resume() : wire.cut()),
    onCopy: copy,
  });
  page('wires').insertBefore(card.element, page('notes'));
  return card;
});

const strip = new LogStrip(page('strip'), () => ({
  length: watched?.log.length ?? 0,
  text: (number) => summary(watched.log.entry(number)?.data ?? ''),
  lanes: (watched?.wires ?? []).map((wire) => ({
    id: wire.framing.id,
    state: wire.state.name,
    cursor: watched.log.numberOf(wire.ledger.cursor),
  })),
}));

/** Lets go of the last channel and reads this one from where its log ends now. */
async function watch(name) {
  watched?.wires.forEach((wire) => wire.end());
  const channel = new Channel(name);
  const log = new Log();
  const publisher = new Publisher(channel, log, say);
  const current = (watched = { channel, log, publisher, wires: [] });
  page('channel').value = name;
  history.replaceState(null, '', `#${encodeURI(name)}`);
  page('recipe-publish').textContent = `curl -H 'Content-Type: application/json' -d '{"text":"hello"}' '${channel.url()}'`;

  const start = await channel.tail().catch((error) => {
    say(`cannot read ${name}: ${error.message}; trying again`);
    setTimeout(() => current === watched && watch(name), RETRY_MS);
  });
  if (start === undefined || current !== watched) return;
  say('');

  current.wires = FRAMINGS.map((framing) => new Wire(framing, {
    channel,
    log,
    start,
    age: (data, now) => publisher.age(data, now),
    changed: onChange,
  }));
  log.onLearn(() => onChange());
  log.onName(({ offset, event }) => current.wires.forEach((wire) => wire.listenFor(event, offset)));
  current.wires.forEach((wire, index) => cards[index].show(wire, log, channel));
  strip.reset();
}

/** Pictures are drawn each frame; words and figures ten times a second, which can still be read. */
function onChange(wire) {
  strip.update();
  if (wire) announce(wire);
  figuresDue ??= setTimeout(showFigures, FIGURES_MS);
}

let figuresDue = null;

function showFigures() {
  figuresDue = null;
  const { wires, log, publisher } = watched;
  if (wires.length === 0) return;
  cards.forEach((card) => card.update());
  const slowest = wires.map((wire) => wire.ledger.cursor).reduce((a, b) => (a < b ? a : b));
  log.trim(slowest);
  page('log-length').textContent = `${log.length.toLocaleString('en')} ${log.length === 1 ? 'entry' : 'entries'}`;
  page('published').textContent = `${publisher.published.toLocaleString('en')} published here`;
  const cut = wires.some((wire) => wire.state.name === 'cut');
  page('cut-all').textContent = cut ? 'Resume all' : 'Cut all';
  page('cut-all').dataset.action = cut ? 'resume-all' : 'cut-all';
  page('strip').setAttribute('aria-label', describe(wires, log));
}

function describe(wires, log) {
  const cursors = wires.map(({ framing, ledger, state }) => `${framing.title} ${state.name} at ${log.numberOf(ledger.cursor)}`);
  return `A log of ${log.length} entries and five cursors: ${cursors.join(', ')}`;
}

/** Says to a screen reader what the eye sees happen: cuts and what resuming brought. */
function announce(wire) {
  const { framing, state, lastResume } = wire;
  const before = announced.get(framing.id);
  announced.set(framing.id, state.name);
  if (before === undefined || before === state.name) return;
  if (state.name === 'cut') page('announcements').textContent = `${framing.title} cut`;
  if (state.name === 'live' && lastResume) {
    page('announcements').textContent = `${framing.title} ${resumeSentence(lastResume)}`;
  }
}

const announced = new Map();

function say(sentence) {
  page('message').textContent = sentence;
}

async function copy(text, button) {
  await navigator.clipboard.writeText(text);
  button.textContent = 'Copied';
  setTimeout(() => (button.textContent = 'Copy'), COPIED_MS);
}

/** Publishes on and on, so many times a second. */
class AutoPublish {
  #timer = null;
  #sent = 0;

  set(on, rate) {
    clearInterval(this.#timer);
    this.#timer = on ? setInterval(() => this.#tick(), 1000 / rate) : null;
  }

  #tick() {
    // Where the server is far away, publish as fast as it answers and not faster.
    if (watched.publisher.isBehind) return;
    watched.publisher.publishText(`tick ${++this.#sent}`);
  }
}

const auto = new AutoPublish();

page('publish-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = page('text').value;
  if (!page('as-json').checked) {
    watched.publisher.publishText(text);
    return;
  }
  try {
    watched.publisher.publishJson(text);
  } catch (error) {
    say(`not published: this is no JSON (${error.message})`);
  }
});

page('channel').addEventListener('change', () => {
  const name = page('channel').value.trim();
  if (page('channel').checkValidity() && name !== watched.channel.name) watch(name);
});

for (const id of ['auto', 'rate']) {
  page(id).addEventListener('input', () => {
    page('rate-value').textContent = `${page('rate').value} a second`;
    auto.set(page('auto').checked, Number(page('rate').value));
  });
}

page('cut-all').addEventListener('click', () => {
  const resume = page('cut-all').dataset.action === 'resume-all';
  for (const wire of watched.wires) resume ? wire.resume() : wire.cut();
});

page('copy-publish').addEventListener('click', () => copy(page('recipe-publish').textContent, page('copy-publish')));

let lent = [];
shareConnections({
  letGo() {
    lent = watched.wires.filter((wire) => wire.framing.holdsConnection && wire.isOpen);
    lent.forEach((wire) => wire.cut('lent to another window of this page'));
  },
  comeBack: () => lent.forEach((wire) => wire.resume()),
});

/** For tests: what the page has counted. A copy; changing it changes nothing. */
Object.defineProperty(window, 'everwire', {
  value: Object.freeze({
    snapshot: () => ({
      channel: watched.channel.name,
      published: watched.publisher.published,
      wires: Object.fromEntries(watched.wires.map(({ framing, state, ledger, meter, cuts, resumes, lastResume }) => [
        framing.id,
        {
          state: state.name,
          received: ledger.received,
          lost: ledger.lost,
          doubled: ledger.doubled,
          unchecked: ledger.unchecked,
          inOrder: ledger.inOrder,
          gaps: ledger.gaps,
          cuts,
          resumed: resumes,
          lastResume: lastResume && { ...lastResume },
          requests: meter.requests,
          bodyBytes: meter.bodyBytes,
          headBytes: meter.headBytes,
          medianMs: meter.quantile(0.5),
          p95Ms: meter.quantile(0.95),
        },
      ])),
    }),
  }),
});

const RETRY_MS = 2000;
const FIGURES_MS = 100;
const COPIED_MS = 1500;

/** The channel named in the page's own URL, so that it can be shared and bookmarked. */
function nameInUrl() {
  try {
    return decodeURI(location.hash.slice(1));
  } catch {
    return '';
  }
}

addEventListener('hashchange', () => nameInUrl() && watch(nameInUrl()));
watch(nameInUrl() || page('channel').value);
