// SPDX-FileCopyrightText: 2026 The robollm authors
// SPDX-License-Identifier: Apache-2.0
// Shows what the view says. Everything from the cell goes in as text, never as markup.

import { isFlawed, make, Picture } from "/picture.js";

const byId = (id) => document.getElementById(id);
const pictures = new Map();
const RETRY_MS = [300, 1000, 2000, 4000];
const FIRST_STAGES = ["queue", "decode", "segment", "identify", "inspect", "total", "publish", "answer"];
let chosen = "";
let tries = 0;

const number = (value, digits = 0) =>
  value === null || value === undefined || Number.isNaN(Number(value)) ? "–" : Number(value).toFixed(digits);

const short = (ms) => number(ms, ms !== null && ms !== undefined && ms < 10 ? 1 : 0);

const withUnit = (element, text, unit) => {
  element.textContent = text;
  if (text !== "–") element.append(make("small", "", unit));
};

const show = {
  cell(cell) {
    byId("node").textContent = `${cell.node} · domain ${cell.domain}`;
    document.title = `${cell.node} · robollm view`;
    const state = byId("state");
    const kinds = { active: "good", "": "off" };
    state.textContent = cell.state || "no signal";
    state.className = `pill ${kinds[cell.state] ?? "warn"}`;
    document.body.classList.toggle("silent", !cell.alive);
    byId("waiting").hidden = !cell.waiting;
    byId("waiting").textContent = cell.waiting;
  },

  cameras(cameras) {
    const names = cameras.map((camera) => camera.name);
    for (const [name, picture] of pictures) {
      if (!names.includes(name)) {
        picture.remove();
        pictures.delete(name);
      }
    }
    for (const camera of cameras) pictureOf(camera.name).tell(camera);
    tabs(cameras);
    arrange();
  },

  manifest(manifest) {
    const known = manifest.container !== "";
    byId("container").textContent = known ? `${manifest.container} · version ${manifest.version}` : "";
    byId("refusal").hidden = !manifest.refusal;
    byId("refusal").textContent = manifest.refusal ? `refused: ${manifest.refusal}` : "";
    byId("left").textContent = known ? manifest.left : "–";
    const done = manifest.total ? 1 - manifest.left / manifest.total : 0;
    byId("progress").style.width = `${(100 * done).toFixed(1)}%`;
    if (!known) return;
    byId("items").replaceChildren(...manifest.items.map(itemRow));
    byId("more").hidden = !manifest.more;
    byId("more").textContent = `and ${manifest.more} more`;
  },

  picks(picks) {
    byId("pick-count").textContent = picks.length ? `newest ${picks.length}` : "";
    if (picks.length) byId("pick-rows").replaceChildren(...picks.map(pickRow));
  },

  health(health) {
    const total = health.latency.total ?? {};
    withUnit(byId("p50"), short(total.p50), "ms");
    withUnit(byId("p99"), short(total.p99), "ms");
    const inputs = Object.entries(health.inputs);
    if (inputs.length) frames(inputs);
    const stages = Object.keys(health.latency);
    if (stages.length) byId("stages").replaceChildren(...stageRows(health.latency));
    if (health.statuses.length) byId("statuses").replaceChildren(...worstFirst(health.statuses).map(statusRow));
  },
};

function pictureOf(name) {
  if (!pictures.has(name)) {
    pictures.set(name, new Picture(name));
    arrange();
  }
  return pictures.get(name);
}

function tabs(cameras) {
  const bar = byId("tabs");
  bar.hidden = cameras.length < 2;
  if (!cameras.some((camera) => camera.name === chosen)) chosen = "";
  const wanted = ["", ...cameras.map((camera) => camera.name)];
  const there = [...bar.children].map((button) => button.dataset.camera);
  if (wanted.join("\n") !== there.join("\n")) {
    bar.replaceChildren(
      ...wanted.map((name) => {
        const button = make("button", "", name || "all cameras");
        button.type = "button";
        button.dataset.camera = name;
        button.addEventListener("click", () => {
          chosen = name;
          arrange();
        });
        return button;
      }),
    );
  }
  for (const button of bar.children) {
    const camera = cameras.find((one) => one.name === button.dataset.camera);
    button.classList.toggle("stale", Boolean(camera?.stale));
  }
}

function arrange() {
  const box = byId("cameras");
  const shown = [...pictures.values()].filter((picture) => !chosen || picture.name === chosen);
  if (!shown.length) return;
  const elements = shown.map((picture) => picture.element);
  const there = [...box.children];
  if (there.length !== elements.length || there.some((one, i) => one !== elements[i])) {
    box.replaceChildren(...elements);
  }
  box.classList.toggle("many", elements.length > 1);
  for (const button of byId("tabs").children) {
    button.setAttribute("aria-pressed", String(button.dataset.camera === chosen));
  }
}

function itemRow(item) {
  const gone = item.left === 0;
  const row = make("li", gone ? "gone" : "");
  row.dataset.id = item.id;
  const name = make("span", "id", item.id);
  if (item.text) name.append(make("small", "", item.text));
  name.title = item.text ? `${item.id} ${item.text}` : item.id;
  const count = item.total === 1 ? "" : `${item.left} of ${item.total}`;
  row.append(make("span", "tick", gone ? "✓" : "○"), name, make("span", "n", count));
  return row;
}

function pickRow(pick) {
  const flawed = isFlawed(pick.verdict);
  const done = pick.state === "done";
  const open = pick.state === "accepted" || pick.state === "waiting_views" || pick.state === "";
  const kinds = [flawed && "flawed", open && "open", !done && !open && "failed", done && !pick.item && "unknown"];
  const row = make("tr", kinds.filter(Boolean).join(" "));
  row.dataset.event = pick.event_id;
  let item = pick.item || (done ? "unknown" : pick.state.replace("_", " ") || "waiting");
  if (!done && !open && pick.missing.length) item += ` (no ${pick.missing.join(", ")})`;
  row.append(
    make("td", "", pick.at),
    make("td", "", pick.phase.replace("_pick", "")),
    make("td", "item", item),
    make("td", "verdict", pick.verdict.replace("_", " ")),
    make("td", "n", short(pick.ms)),
  );
  const score = pick.item && pick.score !== null ? `${pick.score.toFixed(2)} · ` : "";
  row.children[2].append(make("small", "", score + pick.pick_id));
  if (flawed && pick.defect !== null) row.children[3].append(make("small", "", pick.defect.toFixed(2)));
  for (const cell of row.children) cell.title = [...cell.childNodes].map((one) => one.textContent).join(" ");
  if (pick.reason) row.title = row.children[2].title = pick.reason;
  return row;
}

function frames(inputs) {
  const counted = (values, start) =>
    Object.entries(values).filter(([key, value]) => key.startsWith(start) && Number(value) > 0);
  const rows = inputs.map(([name, values]) => {
    // the reasons, or their sum alone from a node that gives no more
    const reasons = counted(values, "dropped_");
    const drops = reasons.length ? reasons : counted(values, "dropped");
    const dropped = drops.reduce((all, [, value]) => all + Number(value), 0);
    const why = reasons.map(([key, value]) => `${key.replace("dropped_", "")} ${value}`).join(", ");
    const camera = name.replace("input/", "");
    const faults = Number(values.decode_errors ?? values.errors ?? 0);
    const row = make("tr");
    row.append(
      make("td", "", camera),
      make("td", "n", number(values.hz, 1)),
      make("td", "n", values.received ?? "–"),
      make("td", "n", values.processed ?? "–"),
      make("td", "n", String(dropped)),
      make("td", faults ? "n bad" : "n", String(faults)),
    );
    return { row, dropped, processed: Number(values.processed) || 0, why: why && `${camera}: ${why}` };
  });
  const sum = (key) => rows.reduce((all, one) => all + one[key], 0);
  byId("processed").textContent = sum("processed");
  byId("dropped").textContent = sum("dropped");
  const head = make("tr");
  byId("why").textContent = rows.map((one) => one.why).filter(Boolean).join("; ");
  const titles = ["camera", "hz", "in", "answered", "dropped", "broken"];
  head.append(...titles.map((title, i) => make("th", i ? "n" : "", title)));
  byId("inputs").replaceChildren(head, ...rows.map((one) => one.row));
}

function stageRows(latency) {
  const known = FIRST_STAGES.filter((stage) => stage in latency);
  const names = [...known, ...Object.keys(latency).filter((stage) => !known.includes(stage))];
  const most = Math.max(1, ...names.map((name) => latency[name].p99 ?? 0));
  return names.flatMap((name) => {
    const { p50, p90, p99 } = latency[name];
    const meter = make("span", "meter");
    for (const [part, value] of [["p99", p99], ["p50", p50]]) {
      const bar = make("i", part);
      bar.style.width = `${(100 * (value ?? 0)) / most}%`;
      meter.append(bar);
    }
    const figures = make("span", "n");
    figures.append(make("b", "", short(p50)), ` / ${short(p90)} / ${short(p99)}`);
    figures.title = "p50 / p90 / p99";
    return [make("span", name === "total" ? "whole" : "", name), meter, figures];
  });
}

const worstFirst = (statuses) => [...statuses].sort((one, other) => other.level - one.level);

function statusRow(status) {
  const row = make("li");
  row.dataset.status = status.name;
  row.append(
    make("span", `dot l${Number(status.level)}`),
    make("span", "name", status.name),
    make("span", "said", status.message),
  );
  row.title = status.message;
  return row;
}

async function showFrame(data) {
  const length = new DataView(data).getUint32(0);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  await pictureOf(head.camera).show(head, new Uint8Array(data, 4 + length));
}

async function take(message) {
  if (message.data instanceof ArrayBuffer) return showFrame(message.data);
  const { key, value } = JSON.parse(message.data);
  return show[key]?.(value);
}

function connect() {
  const socket = new WebSocket(`ws://${location.host}/live`);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("open", () => {
    tries = 0;
    document.body.classList.remove("lost");
  });
  socket.addEventListener("message", async (message) => {
    try {
      await take(message);
    } catch (error) {
      console.warn(`cannot show a message: ${error}`);
    }
    // the next one comes when this one is shown
    if (socket.readyState === WebSocket.OPEN) socket.send("ok");
  });
  socket.addEventListener("close", () => {
    document.body.classList.add("lost");
    setTimeout(connect, RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]);
    tries += 1;
  });
}

connect();
