"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const views = {};

// Of each group those that none beats in both: cheapest first, each better than all before it.
function withFront(rows) {
  const best = {};
  return rows
    .filter((row) => row.quality !== null && row.energy !== null)
    .sort((one, other) => one.energy - other.energy || other.quality - one.quality)
    .map((row) => {
      const front = !(row.quality <= best[row.group]);
      if (front) best[row.group] = row.quality;
      return { ...row, front, front_text: front ? "on the front" : "beaten in both" };
    });
}

// Without the names that would stand on another; those of the front come first. Tooltips have all.
function withRoomForNames(rows, width, height) {
  const letter = 5.6, line = 13, placed = [];
  const scale = (values, size) => {
    const least = Math.min(...values), span = Math.max(...values) - least || 1;
    return (value) => ((value - least) / span) * size;
  };
  const across = scale(rows.map((row) => Math.log(row.energy)), width * 0.75);
  const down = scale(rows.map((row) => row.quality), height * 0.85);
  const named = new Set();
  for (const row of [...rows].sort((one, other) => other.front - one.front)) {
    const at = { x: across(Math.log(row.energy)), y: down(row.quality), half: (row.short.length * letter) / 2 };
    if (placed.some((other) => Math.abs(other.y - at.y) < line && Math.abs(other.x - at.x) < other.half + at.half)) continue;
    placed.push(at);
    named.add(row);
  }
  return rows.map((row) => (named.has(row) ? row : { ...row, short: "" }));
}

const chips = [...document.querySelectorAll(".chip")];

// The change of time and, where it was measured, of energy: the worst first.
function changes(rows) {
  const worst = data.charts.ranked.layer[1].encoding.x.scale.type === "log" ? 1 : -1;
  return rows
    .filter((row) => row.time_change !== null)
    .sort((one, other) => worst * (one.time_change - other.time_change))
    .flatMap((row) => ["time", "energy"].filter((metric) => row[metric + "_change"] !== null).map((metric) => ({
      name: row.name, label: row.label, outcome: row.outcome, reasons: row.reasons, metric,
      value: row[metric + "_change"], low: row[metric + "_change_low"], high: row[metric + "_change_high"], text: row[metric + "_change_text"],
    })));
}

function wanted() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const outcomes = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.outcome);
  return data.rows.map((row) =>
    words.every((word) => row.name.toLowerCase().includes(word)) && (outcomes.length === 0 || outcomes.includes(row.outcome)));
}

function valuesOf(chart, keep) {
  const rows = data.rows.filter((_, index) => keep[index]);
  const at = Number(byId("which").value);
  if (chart === "ranked") return changes(rows);
  if (chart === "pareto") return withFront(rows);
  if (chart === "figures") {
    const metric = byId("metric").value;
    return rows
      .filter((row) => row[metric] !== null)
      .map((row) => ({ name: row.name, label: row.label, group: row.group, value: row[metric], low: row[metric + "_low"], high: row[metric + "_high"], text: row[metric + "_text"] }));
  }
  return (data.windows[at] ?? []).map(([joules, seconds, window]) => ({ joules, seconds, window }));
}

// Colour is never the only sign: shapes and words say the same. Okabe and Ito's, which colour-blind readers tell apart.
const colours = () =>
  dark.matches
    ? ["#56B4E9", "#E69F00", "#2FC99A", "#E79CC8", "#F0E442", "#FF8A5C"]
    : ["#0072B2", "#D55E00", "#00805C", "#B0558A", "#8A6100", "#3F8FBF"];

async function draw(chart) {
  const values = valuesOf(chart, wanted());
  const section = byId(chart).closest("section");
  if (section.dataset.needs) section.hidden = !data.rows.some((row) => row[section.dataset.needs] !== null);
  if (section.hidden) return;
  if (values.length === 0) {
    views[chart]?.forEach((view) => view.finalize());
    delete views[chart];
    byId(chart).textContent = "Nothing to show.";
    return;
  }
  const ink = getComputedStyle(document.body).color;
  const line = getComputedStyle(document.documentElement).getPropertyValue("--line").trim();
  const spec = structuredClone(data.charts[chart]);
  if (chart === "figures") {
    spec.height = 16 * (values.length + 1); // a line each
    const unit = { seconds: "s", joules: "J", watts: "W" }[byId("metric").value];
    for (const layer of spec.layer) layer.encoding.x.axis.labelExpr = `datum.label ? replace(datum.label, /([a-zµ]?)$/i, ' $1${unit}') : ''`;
  }
  if (chart === "ranked") spec.height = 20 * (new Set(values.map((value) => value.label)).size + 1);
  const narrow = byId(chart).clientWidth < 600;
  for (const layer of narrow && (chart === "ranked" || chart === "figures") ? spec.layer : [])
    if (layer.encoding.y) layer.encoding.y.axis.labelLimit = 130;
  spec.config = {
    background: "transparent", range: { category: colours() }, font: "system-ui, sans-serif", view: { stroke: line },
    axis: { labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: "normal" },
    legend: { labelColor: ink, titleColor: ink }, text: { color: ink }, rule: { color: ink }, line: { color: colours()[0] },
    point: { color: colours()[0] },
  };
  // The interpreter needs no eval, which the page forbids itself.
  const embed = async (place, of) => {
    const own = structuredClone(spec);
    own.data.values = of;
    return (await vegaEmbed(place, own, { mode: "vega-lite", actions: false, renderer: "svg", ast: true })).view;
  };
  views[chart]?.forEach((view) => view.finalize());
  if (chart !== "pareto") {
    views[chart] = [await embed(byId(chart), values)];
    return;
  }
  views[chart] = []; // a chart for each group
  byId(chart).replaceChildren();
  for (const group of new Set(values.map((value) => value.group))) {
    const figure = document.createElement("figure"), title = document.createElement("figcaption"), place = document.createElement("div");
    title.textContent = group;
    place.className = "chart";
    figure.append(title, place);
    byId(chart).append(figure);
    views[chart].push(await embed(place, withRoomForNames(values.filter((value) => value.group === group), place.clientWidth, spec.height)));
  }
}

let drawing = Promise.resolve();
function drawAll(charts = Object.keys(data.charts)) {
  drawing = drawing.then(async () => {
    for (const chart of charts) await draw(chart);
    document.body.dataset.drawn = Number(document.body.dataset.drawn ?? 0) + 1;
  });
  return drawing;
}

const table = document.querySelector("table");
const body = table.tBodies[0];
const bodyRows = [...body.rows];

function filter() {
  const keep = wanted();
  bodyRows.forEach((row, index) => (row.hidden = !keep[index]));
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const figure of document.querySelectorAll(".multiples figure"))
    figure.hidden = !words.every((word) => figure.dataset.name.toLowerCase().includes(word));
  byId("shown").textContent = `${keep.filter(Boolean).length} of ${keep.length} benchmarks`;
}

function keyOf(row, column, kind) {
  const cell = row.cells[column];
  if (kind === "text") return cell.textContent.toLowerCase();
  return cell.dataset.value ? Number(cell.dataset.value) : null; // not known
}

[...table.tHead.rows[0].cells].forEach((head, column) => {
  const button = head.querySelector("button");
  button.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const keyed = bodyRows.map((row) => [keyOf(row, column, button.dataset.kind), row]);
    keyed.sort(([one], [other]) => {
      if (one === null || other === null) return (one === null) - (other === null); // not known comes last either way
      return (one < other ? -1 : one > other ? 1 : 0) * (up ? 1 : -1);
    });
    body.append(...keyed.map(([, row]) => row));
  });
});

data.rows.forEach((row, index) => byId("which").add(new Option(row.name, index)));
let waiting;
for (const chip of chips)
  chip.addEventListener("click", () => {
    chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
    filter();
    drawAll(["ranked", "pareto", "figures"]);
  });
byId("filter").addEventListener("input", () => {
  filter();
  clearTimeout(waiting);
  waiting = setTimeout(() => drawAll(["ranked", "pareto", "figures"]), 150);
});
byId("metric").addEventListener("change", () => drawAll(["figures"]));
byId("which").addEventListener("change", () => drawAll(["window_joules", "window_seconds"].filter((chart) => data.charts[chart])));
dark.addEventListener("change", () => drawAll());
filter();
drawAll();
