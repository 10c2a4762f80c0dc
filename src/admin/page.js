// Asks for /status.json once a second and shows what has changed. It needs nothing from elsewhere.
"use strict";

const EVERY = 1000, PATIENCE = 3000, CHART = 120, WINDOW = 10;
const STATES = ["idle", "reading", "waiting", "writing", "closing"];
const TROUBLES = { starved: "receives without a block", faults: "application faults" };
/** A space at which no line ends. */
const NB = "\u00a0";
const find = (id) => document.getElementById(id);

/** The last answers, oldest first; as many as the window of the latency needs. */
let history = [];
/** Requests a second, oldest first. */
let rates = [];
let last_seen = null;

function sum(counts) {
  return Object.values(counts).reduce((all, one) => all + one, 0);
}

function number(value) {
  if (value >= 1e9) return (value / 1e9).toFixed(2) + " G";
  if (value >= 1e6) return (value / 1e6).toFixed(2) + " M";
  if (value >= 1e5) return (value / 1e3).toFixed(0) + " k";
  if (value >= 1e4) return (value / 1e3).toFixed(1) + " k";
  if (value > 0 && value < 10 && !Number.isInteger(value)) return value.toFixed(1);
  return value.toFixed(0);
}

function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return (unit > 0 && value < 100 ? value.toFixed(1) : value.toFixed(0)) + " " + units[unit];
}

function time(seconds) {
  if (seconds < 1e-3) return (seconds * 1e6).toFixed(0) + " µs";
  if (seconds < 1) return (seconds * 1e3).toFixed(seconds < 1e-2 ? 1 : 0) + " ms";
  return seconds.toFixed(seconds < 10 ? 1 : 0) + " s";
}

function span(seconds) {
  const days = Math.floor(seconds / 86400), hours = Math.floor(seconds / 3600) % 24;
  const minutes = Math.floor(seconds / 60) % 60;
  if (days > 0) return days + NB + "d " + hours + NB + "h";
  if (hours > 0) return hours + NB + "h " + minutes + NB + "min";
  return minutes > 0 ? minutes + NB + "min" : Math.floor(seconds) + NB + "s";
}

/** The duration that the share `q` of the requests between two answers did not exceed. */
function quantile(q, from, to) {
  const counts = to.buckets.map((count, index) => count - from.buckets[index]);
  const all = counts.reduce((sum, one) => sum + one, 0);
  if (all === 0) return null;
  let below = 0;
  for (let index = 0; index < counts.length; index += 1) {
    if (below + counts[index] >= q * all && counts[index] > 0) {
      const low = index === 0 ? 0 : to.bounds_ns[index - 1];
      const high = index < to.bounds_ns.length ? to.bounds_ns[index] : low;
      return (low + (high - low) * (q * all - below) / counts[index]) / 1e9;
    }
    below += counts[index];
  }
  return null;
}

function cell(kind, text) {
  const made = document.createElement(kind);
  if (kind === "th") made.scope = "row";
  made.textContent = text;
  return made;
}

function row(texts, name) {
  const made = document.createElement("tr");
  made.className = name || "";
  texts.forEach((text, index) => made.append(cell(index === 0 ? "th" : "td", text)));
  return made;
}

/** A bar of the connections by state, as wide as there is room. */
function stack(place, counts) {
  place.replaceChildren(...STATES.filter((state) => counts[state] > 0).map((state) => {
    const part = document.createElement("i");
    part.className = state;
    part.style.flexGrow = counts[state];
    return part;
  }));
}

function draw() {
  const peak = Math.max(...rates, 0), top = Math.max(peak, 1) * 1.1;
  const points = rates.map((rate, index) => {
    const x = CHART - rates.length + index + 1;
    return x + " " + (40 - 40 * rate / top).toFixed(2);
  });
  const line = points.length > 0 ? "M" + points.join("L") : "";
  document.querySelector("#chart .line").setAttribute("d", line);
  document.querySelector("#chart .area").setAttribute(
    "d", line && line + "L120 40L" + (CHART - rates.length + 1) + " 40Z");
  find("peak").textContent = peak > 0 ? "at most " + number(peak) + " a second" : "";
}

function show_rates(before, now) {
  const seconds = before ? (now.now - before.now) / 1000 : 0;
  const rate = (to, from) => seconds > 0 ? Math.max(0, to - from) / seconds : 0;
  const requests = before ? rate(sum(now.requests), sum(before.requests)) : null;
  if (requests !== null) {
    rates = rates.concat(requests).slice(-CHART);
    find("rate").textContent = number(requests);
    draw();
  }
  const shown = (to, from) => before ? number(rate(to, from)) : "–";
  find("classes").replaceChildren(...Object.keys(now.requests).filter((name) => name !== "1xx").map((name) => row(
    [name, shown(now.requests[name], before && before.requests[name]), number(now.requests[name])],
    now.requests[name] === 0 ? "none" : "")));
  const way = (name, key, write) => row(
    [name, before ? write(rate(now[key], before[key])) : "–", write(now[key])]);
  find("traffic").replaceChildren(
    way("received", "received_bytes", bytes), way("sent", "sent_bytes", bytes),
    way("connections opened", "accepted", number), way("connections closed", "closed", number));
  find("workers").replaceChildren(...now.workers.map((worker) => {
    const earlier = before && before.workers.find((one) => one.worker === worker.worker);
    const made = row([
      String(worker.worker), worker.up ? String(worker.pid) : "ended", worker.up ? worker.io : "–",
      earlier ? number(rate(sum(worker.requests), sum(earlier.requests))) : "–",
      number(sum(worker.requests)), number(sum(worker.connections)), "",
    ], worker.up ? "" : "down");
    const bar = document.createElement("div");
    bar.className = "stack";
    bar.title = STATES.map((state) => worker.connections[state] + " " + state).join(", ");
    stack(bar, worker.connections);
    made.children[1].className = made.children[2].className = "word";
    made.lastChild.className = "bar";
    made.lastChild.append(bar);
    return made;
  }));
}

function show(now) {
  const newest = history[history.length - 1];
  // Another server has come in its place: its counters begin anew.
  if (newest && (newest.started_at !== now.started_at || sum(newest.requests) > sum(now.requests))) {
    history = [];
  }
  const before = history[history.length - 1];
  history = history.concat(now).slice(-WINDOW - 1);
  show_rates(before, now);
  for (const [id, q] of [["p50", .5], ["p90", .9], ["p99", .99]]) {
    const found = before ? quantile(q, history[0].duration, now.duration) : null;
    find(id).textContent = found === null ? "–" : time(found);
  }
  find("open").textContent = number(sum(now.connections));
  stack(find("states"), now.connections);
  find("legend").replaceChildren(...STATES.map((state) => {
    const made = document.createElement("li"), mark = document.createElement("i"), count = document.createElement("b");
    mark.className = state;
    count.textContent = number(now.connections[state]);
    made.append(mark, state + " ", count);
    return made;
  }));
  const troubles = Object.entries(now.limits)
    .concat(Object.keys(TROUBLES).map((key) => [TROUBLES[key], now[key]]))
    .concat(Object.entries(now.dropped_lines).map(([name, count]) => ["dropped lines of " + name, count]))
    .filter(([, count]) => count > 0);
  find("no-limits").hidden = troubles.length > 0;
  find("limits").replaceChildren(...troubles.map(([name, count]) => {
    const made = document.createElement("li"), times = document.createElement("b");
    times.textContent = number(count);
    made.append(name, times);
    return made;
  }));
  const up = now.workers.filter((worker) => worker.up).length;
  find("about").textContent = [
    "version " + now.version, "process " + now.pid,
    up === now.workers_wanted ? up + (up === 1 ? " worker" : " workers") : up + " of " + now.workers_wanted + " workers",
    "up " + span((now.now - now.started_at) / 1000),
  ].join(" · ");
  last_seen = new Date();
  find("gone").hidden = true;
  set_phase(now.phase);
}

function set_phase(phase) {
  // Said only when it changes, so that a screen reader does not say it every second.
  if (document.body.dataset.phase !== phase) {
    document.body.dataset.phase = phase;
    find("phase").textContent = phase[0].toUpperCase() + phase.slice(1);
    document.title = phase === "serving" ? "Ringway" : "Ringway: " + phase;
  }
}

function show_gone() {
  const since = last_seen ? "It was last seen at " + last_seen.toLocaleTimeString() + "." : "It has not answered yet.";
  const text = "The server does not answer. " + since + " What is shown below is old; this page goes on asking.";
  if (find("gone").textContent !== text) find("gone").textContent = text;
  find("gone").hidden = false;
  set_phase("gone");
  history = [];
  if (rates.length > 0) {
    rates = rates.concat(0).slice(-CHART);
    draw();
  }
}

async function ask() {
  const began = performance.now();
  try {
    const answer = await fetch("/status.json", { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    show(await answer.json());
  } catch {
    show_gone();
  }
  setTimeout(ask, Math.max(100, EVERY - (performance.now() - began)));
}

ask();
