/**
 * The picture of the one idea: a log above, and below it a lane for each wire, filled up to its cursor.
 *
 *      │ 41 │ 42 │ 43 │ 44 │ 45 │ 46 │ ┆      the log
 *      ━━━━━━━━━━━━━━━━━━━━━━━━━━━━▶          a wire at the tail
 *      ━━━━━━━━━●────────────── 4 behind      a wire that was cut
 *
 * Everything is drawn from three numbers per wire and one for the log, on one canvas, so that fifty entries a
 * second cost one drawing a frame. The view eases to where it should be, and zooms out while a wire is
 * behind, so that a cut cursor stays in sight while the log grows away from it.
 */
export class LogStrip {
  #canvas;
  #context;
  #read;
  #lanes = [];
  #view = { right: 1, width: 12 };
  #colours;
  #frame = null;
  #drawnAt = 0;
  #still = matchMedia('(prefers-reduced-motion: reduce)');

  /** `read()` gives `{ length, text(number), lanes: [{ id, cursor, state }] }` at the moment of drawing. */
  constructor(canvas, read) {
    this.#canvas = canvas;
    this.#context = canvas.getContext('2d');
    this.#read = read;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#restyle());
    this.#restyle();
  }

  /** Draws soon, and on until everything has come to rest. */
  update() {
    this.#frame ??= requestAnimationFrame((now) => this.#draw(now));
  }

  /** Another log: nothing eases over from the last one. */
  reset() {
    this.#lanes = [];
    this.#view = { right: 1, width: this.#columns() };
    this.update();
  }

  #draw(now) {
    const elapsed = Math.min(now - this.#drawnAt, FRAME_MS_MAX);
    this.#drawnAt = now;
    this.#frame = null;
    const log = this.#read();
    const moving = this.#ease(log, elapsed);

    const context = this.#context;
    const { width, height } = this.#canvas.getBoundingClientRect();
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, width, height);
    const cell = width / this.#view.width;
    /** Where the right edge of the entry with that number lies; fractions lie between. */
    const x = (number) => width - (this.#view.right - number) * cell;

    this.#drawLog(log, x, cell);
    log.lanes.forEach((lane, row) => this.#drawLane(lane, this.#lanes[row], log, x, row, width));
    if (moving) this.update();
  }

  /** Moves view and cursors towards where they belong; returns whether any is still on its way. */
  #ease({ length, lanes }, elapsed) {
    const share = this.#still.matches ? 1 : 1 - Math.exp(-elapsed / EASE_MS);
    const sweep = this.#still.matches ? 1 : 1 - Math.exp(-elapsed / SWEEP_MS);
    const behind = length - Math.min(length, ...lanes.map((lane) => lane.cursor));
    const columns = this.#columns();
    // A fast log would fly past: show some seconds of it, in narrower cells.
    const width = Math.min(WIDTH_MAX, Math.max(columns, behind + columns / 4, this.#rate(length) * VIEW_SECONDS));
    const view = this.#view;
    const target = { right: Math.max(length + 1, columns), width };
    let moving = false;
    const step = (from, to, share) => {
      if (Math.abs(to - from) < AT_REST) return to;
      moving = true;
      return from + (to - from) * share;
    };
    view.right = step(view.right, target.right, share);
    view.width = step(view.width, target.width, width > view.width ? share : share / 4);

    lanes.forEach((lane, row) => {
      const shown = (this.#lanes[row] ??= { cursor: lane.cursor, from: lane.cursor, glow: 0 });
      if (lane.state === 'cut') shown.from = shown.cursor;
      if (lane.state === 'resuming' && shown.glow === 0) shown.glow = 1;
      const far = lane.cursor - shown.cursor > 2 && shown.glow > 0;
      shown.cursor = step(shown.cursor, lane.cursor, far ? sweep : share);
      if (shown.glow > 0 && lane.state === 'live') {
        shown.glow = Math.max(0, shown.glow - elapsed / GLOW_MS);
        moving = true;
      }
    });
    return moving;
  }

  #lengths = [];

  /** Entries a second, over the last second. */
  #rate(length) {
    const now = performance.now();
    this.#lengths.push({ now, length });
    while (this.#lengths[0].now < now - 1000) this.#lengths.shift();
    return length - this.#lengths[0].length;
  }

  #drawLog({ length, text }, x, cell) {
    const context = this.#context;
    const gap = cell > 12 ? 3 : cell > 5 ? 1 : 0.5;
    const first = Math.max(1, Math.floor(this.#view.right - this.#view.width) + 1);
    const last = Math.min(length, Math.ceil(this.#view.right));
    context.fillStyle = this.#colours.entry;
    for (let number = first; number <= last; number++) {
      const room = Math.max(cell - gap, 0.75);
      roundedBox(context, x(number - 1) + gap / 2, LOG_TOP, room, LOG_HEIGHT, Math.min(5, cell / 4));
    }
    // Numbers last: in narrow cells they are wider than what they stand on.
    const every = labelStep(cell);
    context.textAlign = 'center';
    for (let number = Math.ceil(first / every) * every; number <= last; number += every) {
      const centre = x(number - 0.5);
      this.#label(number, centre, cell * every, cell >= TEXT_CELL);
      if (cell < TEXT_CELL) continue;
      context.fillStyle = this.#colours.quiet;
      context.font = this.#font(10.5);
      context.fillText(fit(context, text(number), cell - 10), centre, LOG_TOP + 34);
    }
    // Where the next entry will be.
    context.strokeStyle = this.#colours.line;
    context.setLineDash([3, 3]);
    context.strokeRect(x(length) + gap / 2 + 0.5, LOG_TOP + 0.5, Math.max(cell - gap - 1, 1), LOG_HEIGHT - 1);
    context.setLineDash([]);
  }

  #label(number, centre, room, withText) {
    const context = this.#context;
    context.font = this.#font(12.5, 600);
    const text = String(number);
    const half = context.measureText(text).width / 2;
    if (2 * half > room - 4 || centre < half) return;
    context.fillStyle = this.#colours.text;
    context.fillText(text, centre, LOG_TOP + (withText ? 18 : LOG_HEIGHT / 2 + 4.5));
  }

  #drawLane(lane, shown, log, x, row, width) {
    const context = this.#context;
    const colour = this.#colours[lane.id];
    const y = LANES_TOP + row * LANE_HEIGHT + LANE_HEIGHT / 2;
    const at = Math.max(x(shown.cursor), EDGE);
    const end = Math.min(x(log.length), width);

    context.lineCap = 'butt';
    line(context, Math.max(0, x(0)), at, y, 4, colour);
    if (shown.glow > 0) {
      context.globalAlpha = shown.glow;
      line(context, Math.max(0, x(shown.from)), at, y, 10, colour);
      context.globalAlpha = 1;
    }
    const away = lane.state === 'cut' || lane.state === 'resuming';
    if (end - at > 1) {
      context.setLineDash(away ? [2, 4] : []);
      line(context, at, end, y, away ? 2 : 1, away ? this.#colours.cut : this.#colours.line);
      context.setLineDash([]);
    }
    this.#drawCursor(at, y, lane.state, colour);
    const behind = log.length - lane.cursor;
    if (away && behind > 0) this.#drawBehind(behind, at, end, y);
  }

  #drawCursor(x, y, state, colour) {
    const context = this.#context;
    context.beginPath();
    context.arc(x, y, state === 'live' ? 5.5 : 6, 0, 2 * Math.PI);
    context.fillStyle = state === 'live' || state === 'resuming' ? colour : this.#colours.ground;
    context.fill();
    context.lineWidth = 2.5;
    context.strokeStyle = state === 'cut' ? this.#colours.cut : state === 'live' ? this.#colours.ground : colour;
    context.stroke();
  }

  #drawBehind(behind, at, end, y) {
    const context = this.#context;
    const text = `${behind} behind`;
    context.font = this.#font(11, 600);
    context.textAlign = 'left';
    const room = context.measureText(text).width + 10;
    const left = end - at > room + 14 ? at + 12 : at - room - 8;
    context.fillStyle = this.#colours.ground;
    roundedBox(context, left, y - 8, room, 16, 4);
    context.fillStyle = this.#colours.cut;
    context.fillText(text, left + 5, y + 4);
  }

  /** How many cells of full width there is room for. */
  #columns() {
    const { width } = this.#canvas.getBoundingClientRect();
    return Math.max(5, Math.floor(width / (width < 500 ? NARROW_CELL : CELL)));
  }

  #resize() {
    const { width, height } = this.#canvas.getBoundingClientRect();
    this.#canvas.width = Math.round(width * devicePixelRatio);
    this.#canvas.height = Math.round(height * devicePixelRatio);
    this.update();
  }

  /** Colours live in the style sheet, once, for light and dark. */
  #restyle() {
    const { style } = this.#canvas;
    const computed = getComputedStyle(this.#canvas);
    // A custom property is read back as it was written; only as a colour in use is it one that can be drawn.
    this.#colours = Object.fromEntries(COLOURS.map((name) => {
      style.color = `var(--${name})`;
      return [name, computed.color];
    }));
    style.color = '';
    this.#colours.family = computed.fontFamily;
    this.update();
  }

  #font(size, weight = 400) {
    return `${weight} ${size}px ${this.#colours.family}`;
  }
}

function line(context, from, to, y, thickness, colour) {
  context.strokeStyle = colour;
  context.lineWidth = thickness;
  context.beginPath();
  context.moveTo(from, y);
  context.lineTo(to, y);
  context.stroke();
}

function roundedBox(context, x, y, width, height, radius) {
  context.beginPath();
  context.roundRect(x, y, width, height, radius);
  context.fill();
}

/** Every which entry is numbered, so that numbers do not touch: 1, 5, 10, 50, 100, … */
function labelStep(cell) {
  let step = 1;
  for (let five = true; step * cell < LABEL_ROOM; five = !five) step *= five ? 5 : 2;
  return step;
}

/** The text, or as much of its beginning as there is room for. */
function fit(context, text, room) {
  let shown = text.slice(0, 24);
  while (shown && context.measureText(shown).width > room) shown = shown.slice(0, -1);
  return shown;
}

const COLOURS = [
  'ground', 'text', 'quiet', 'line', 'entry', 'cut',
  'websocket', 'event-stream', 'ndjson', 'long-poll', 'polling',
];
const LOG_TOP = 0;
const LOG_HEIGHT = 44;
const LANES_TOP = 54;
const LANE_HEIGHT = 28;
/** How wide a cell is when there is no reason to be narrower, on wide and on narrow screens. */
const CELL = 68;
const NARROW_CELL = 40;
/** Cells at least this wide show what the entry says. */
const TEXT_CELL = 46;
const LABEL_ROOM = 34;
const EDGE = 8;
const WIDTH_MAX = 1200;
const VIEW_SECONDS = 4;
const EASE_MS = 60;
const SWEEP_MS = 260;
const GLOW_MS = 1600;
const FRAME_MS_MAX = 100;
const AT_REST = 0.004;
