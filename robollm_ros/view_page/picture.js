// SPDX-FileCopyrightText: 2026 The robollm authors
// SPDX-License-Identifier: Apache-2.0
// One camera on the page: its picture, with outlines and names drawn over it.

const COLOURS = { good: "#3ddc84", unknown: "#ffb020", flawed: "#ff5a52" };
const LONGEST = 26;

export const make = (tag, className = "", text = "") => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== "") made.textContent = text;
  return made;
};

export const isFlawed = (verdict) => !["", "nominal", "unknown"].includes(verdict);

export const kindOf = (item) => {
  if (isFlawed(item.verdict)) return "flawed";
  return item.name ? "good" : "unknown";
};

export const titleOf = (item) => item.name || (item.class ? `? ${item.class}` : "?");

const shortened = (text) => (text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text);

export class Picture {
  constructor(name) {
    this.name = name;
    this.element = make("article", "tile");
    this.element.dataset.camera = name;
    this.canvas = make("canvas");
    this.caption = make("div", "cap", name);
    this.note = make("small");
    this.caption.append(this.note);
    this.cry = make("div", "cry", "NO FRAME");
    this.cry.setAttribute("role", "alert");
    this.found = make("ul", "found");
    this.found.setAttribute("aria-label", `found by ${name}`);
    this.element.append(this.canvas, this.caption, this.cry, this.found);
    this.frames = 0;
    this.head = null;
    this.fault = "";
    this.image = null;
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.canvas);
  }

  remove() {
    this.watch.disconnect();
    this.image?.close();
    this.element.remove();
  }

  tell(camera) {
    this.element.classList.toggle("stale", camera.stale);
    const since = camera.age_s === null ? "" : ` FOR ${camera.age_s} s`;
    if (camera.stale) this.cry.textContent = `NO FRAME${since}`;
    this.fault = camera.fault;
    this.mark();
  }

  mark() {
    this.note.textContent = this.fault || (this.head && !this.head.answered ? "not answered" : "");
  }

  async show(head, jpeg) {
    const image = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
    this.image?.close();
    this.image = image;
    this.head = head;
    this.frames += 1;
    this.element.dataset.frames = this.frames;
    this.element.dataset.stamp = head.stamp_ns;
    this.mark();
    this.list();
    this.draw();
  }

  list() {
    this.found.replaceChildren(
      ...this.head.items.map((item) => {
        const kind = kindOf(item);
        const row = make("li", kind, titleOf(item));
        const words = [];
        if (kind === "flawed") words.push(item.verdict.replace("_", " "));
        if (item.name && item.score !== null) words.push(item.score.toFixed(2));
        if (words.length) row.append(make("small", "", words.join(" · ")));
        row.title = `${titleOf(item)} ${item.verdict}`;
        return row;
      }),
    );
  }

  draw() {
    const canvas = this.canvas;
    const scale = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * scale);
    const height = Math.round(canvas.clientHeight * scale);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    if (!this.image) return;
    const [w, h] = this.head.size;
    const zoom = Math.min(width / w, height / h);
    const left = (width - w * zoom) / 2;
    const top = (height - h * zoom) / 2;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.image, left, top, w * zoom, h * zoom);
    const place = { left, top, zoom, width, height, unit: scale };
    for (const item of this.head.items) this.outline(pen, item, place);
    const taken = [];
    for (const item of this.head.items) this.label(pen, item, place, taken);
  }

  outline(pen, item, { left, top, zoom, unit }) {
    const colour = COLOURS[kindOf(item)];
    pen.lineWidth = (kindOf(item) === "flawed" ? 3 : 2) * unit;
    pen.strokeStyle = colour;
    pen.fillStyle = `${colour}38`;
    pen.beginPath();
    for (const shape of item.outlines) {
      for (let i = 0; i < shape.length; i += 2) {
        pen[i ? "lineTo" : "moveTo"](left + shape[i] * zoom, top + shape[i + 1] * zoom);
      }
      pen.closePath();
    }
    if (!item.outlines.length) {
      const [x0, y0, x1, y1] = item.box;
      pen.rect(left + x0 * zoom, top + y0 * zoom, (x1 - x0) * zoom, (y1 - y0) * zoom);
    }
    pen.fill();
    pen.stroke();
  }

  // a chip on the middle of its item, moved down while it would lie on another chip
  label(pen, item, { left, top, zoom, width, height, unit }, taken) {
    const size = Math.max(14 * unit, Math.min(28 * unit, height / 22));
    pen.font = `650 ${size}px Inter, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif`;
    const flawed = kindOf(item) === "flawed";
    const text = shortened(titleOf(item)) + (flawed ? `  ${item.verdict.replace("_", " ")}` : "");
    const wide = pen.measureText(text).width + size;
    const high = size * 1.45;
    const [x0, y0, x1, y1] = item.box;
    let x = left + ((x0 + x1) / 2) * zoom - wide / 2;
    let y = top + ((y0 + y1) / 2) * zoom - high / 2;
    x = Math.max(0, Math.min(x, width - wide));
    y = Math.max(0, Math.min(y, height - high));
    const hit = (at) =>
      taken.find((o) => x < o.x + o.wide && x + wide > o.x && at < o.y + o.high && at + high > o.y);
    const start = y;
    for (let tries = 0, other = hit(y); other && tries < 12; tries += 1, other = hit(y)) {
      y = other.y + other.high + 1;
      if (y > height - high) {
        y = start;
        break;
      }
    }
    taken.push({ x, y, wide, high });
    pen.fillStyle = "rgba(10, 12, 15, .86)";
    pen.beginPath();
    pen.roundRect(x, y, wide, high, size * 0.25);
    pen.fill();
    pen.fillStyle = COLOURS[kindOf(item)];
    pen.fillRect(x, y, size * 0.22, high);
    pen.textBaseline = "middle";
    pen.fillText(text, x + size * 0.55, y + high / 2);
  }
}
