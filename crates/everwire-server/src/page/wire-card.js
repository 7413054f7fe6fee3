/**
 * A wire in words and figures. Builds its elements once from the page's template and then only replaces text,
 * so that nothing moves, loses the focus or is announced twice.
 */
export class WireCard {
  #wire;
  #element;
  #rows;
  #log;

  /** `onSwitch` is called when the reader cuts or resumes; `onCopy(text)` when a recipe is to be copied. */
  constructor(framing, template, { onSwitch, onCopy }) {
    const element = template.content.cloneNode(true).firstElementChild;
    element.dataset.wire = framing.id;
    element.querySelector('h3').textContent = framing.title;
    element.querySelector('h3').id = `title-${framing.id}`;
    element.setAttribute('aria-labelledby', `title-${framing.id}`);
    element.querySelector('.how').textContent = framing.how;
    this.#element = element;
    this.framing = framing;
    this.#switch.addEventListener('click', () => this.#wire && onSwitch(this.#wire));
    for (const button of element.querySelectorAll('[data-action="copy"]')) {
      button.setAttribute('aria-label', `Copy the ${button.dataset.copies} line for ${framing.title}`);
      button.addEventListener('click', () => onCopy(this.#field(button.dataset.copies).textContent, button));
    }
    this.#rows = [...element.querySelectorAll('.entries li')];
  }

  get element() {
    return this.#element;
  }

  /** From now on shows this wire, a cursor over that log. */
  show(wire, log, channel) {
    this.#wire = wire;
    this.#log = log;
    this.#text('shell', this.framing.shell(channel));
    this.#text('script', this.framing.script(channel));
    this.update();
  }

  update() {
    const { state, meter, ledger } = this.#wire;
    this.#element.dataset.state = state.name;
    this.#text('state', state.why && state.name === 'resuming' ? 'reconnecting' : state.name);
    this.#field('state').title = state.why ?? '';
    this.#updateSwitch(state);

    this.#text('median', milliseconds(meter.quantile(0.5)));
    this.#text('p95', milliseconds(meter.quantile(0.95)));
    this.#text('requests', count(meter.requests));
    this.#text('bytes', bytes(meter.bytes));
    this.#text('bytes-body', bytes(meter.bodyBytes));
    this.#text('bytes-head', bytes(meter.headBytes));
    this.#text('per-entry', ledger.received === 0 ? '–' : bytes(meter.bytes / ledger.received));

    this.#text('received', count(ledger.received));
    this.#text('lost', count(ledger.lost));
    this.#text('doubled', count(ledger.doubled));
    this.#text('order', ledger.inOrder ? 'in order' : `${count(ledger.disordered)} out of order`);
    const sound = ledger.lost === 0 && ledger.doubled === 0 && ledger.inOrder;
    this.#field('verdict').dataset.sound = sound;
    this.#text('news', this.#news());
    this.#field('news').dataset.tone = state.name === 'live' && this.#wire.lastResume ? 'good' : 'plain';
    this.#updateEntries();
  }

  #updateSwitch({ name }) {
    const action = name === 'cut' ? 'resume' : 'cut';
    const button = this.#switch;
    if (button.dataset.action !== action) {
      button.dataset.action = action;
      button.textContent = action === 'cut' ? 'Cut' : 'Resume';
    }
    button.setAttribute('aria-label', `${button.textContent} ${this.framing.title}`);
    button.disabled = name === 'closed';
  }

  /** The one sentence about what happened last. */
  #news() {
    const { state, lastResume, ledger } = this.#wire;
    const behind = this.#log.length - this.#log.numberOf(ledger.cursor);
    if (state.name === 'cut') return `${state.why ?? 'cut'}: ${count(behind)} behind, the cursor stands still`;
    if (state.name === 'resuming') return state.why ? `${state.why}; trying again` : 'resuming from the cursor';
    if (state.name === 'connecting') return state.why ? `${state.why}; trying again` : '';
    if (state.name === 'closed') return 'the channel is closed: this is its end';
    return lastResume ? resumeSentence(lastResume) : 'not cut so far';
  }

  #updateEntries() {
    this.#rows.forEach((row, index) => {
      const entry = this.#wire.recent[index];
      const [number, data, late] = row.children;
      row.dataset.caughtUp = entry?.caughtUp ?? false;
      set(number, entry ? String(this.#log.numberOf(entry.offset) - entry.before) : '');
      set(data, entry ? summary(entry.data) : '');
      set(late, entry && entry.late !== null && !entry.caughtUp ? milliseconds(entry.late) : '');
    });
  }

  get #switch() {
    return this.#element.querySelector('[data-switch]');
  }

  #fields = new Map();

  #field(name) {
    if (!this.#fields.has(name)) this.#fields.set(name, this.#element.querySelector(`[data-field="${name}"]`));
    return this.#fields.get(name);
  }

  #text(name, text) {
    set(this.#field(name), text);
  }
}

/** "resumed: 7 entries, nothing lost, nothing doubled" */
export function resumeSentence({ entries, lost, doubled, gaps }) {
  return [
    `resumed: ${entries === 1 ? '1 entry' : `${count(entries)} entries`}`,
    gaps > 0 ? 'after a gap that was told' : lost === 0 ? 'nothing lost' : `${count(lost)} lost`,
    doubled === 0 ? 'nothing doubled' : `${count(doubled)} doubled`,
  ].join(', ');
}

/** An entry in few words: its `text` where it has one. */
export function summary(data) {
  if (typeof data === 'string') return data;
  return typeof data?.text === 'string' ? data.text : JSON.stringify(data);
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function count(number) {
  return number.toLocaleString('en');
}

function milliseconds(ms) {
  if (ms === null) return '–';
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${count(Math.round(ms))} ms`;
}

function bytes(number) {
  if (number < 1000) return `${Math.round(number)} B`;
  if (number < 1_000_000) return `${(number / 1000).toFixed(1)} kB`;
  return `${(number / 1_000_000).toFixed(2)} MB`;
}
