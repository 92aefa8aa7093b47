// Sorting, filtering and interactive plots. The page reads well without any of it.
"use strict";

// --- sorting: a click on a head; numbers by value, times by their unit ---
const UNITS = { s: 1, min: 60, h: 3600 };
function sortKey(cell) {
  const text = cell.textContent.trim().replace(/\u2212/g, "-").replace(/,/g, "");
  const found = text.match(/^([+-]?[\d.]+(?:e[+-]?\d+)?)\s*(s|min|h)?\b/i);
  if (!found || Number.isNaN(Number(found[1]))) return text;
  return Number(found[1]) * (UNITS[found[2]] || 1);
}
function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === typeof b) return a.localeCompare(b, undefined, { numeric: true });
  return typeof a === "number" ? -1 : 1;
}
function sortBy(head) {
  const table = head.closest("table"), body = table.tBodies[0];
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const keyed = [...body.rows].map((row) => [sortKey(row.cells[head.cellIndex]), row]);
  keyed.sort((a, b) => (descending ? compare(b[0], a[0]) : compare(a[0], b[0])));
  body.append(...keyed.map((pair) => pair[1]));
}
for (const head of document.querySelectorAll("table.sortable thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  button.addEventListener("click", () => sortBy(head));
  head.append(button);
}

// --- filtering: words that a row must hold, and a choice for each column of few values ---
const CHOICES = ["stage", "status", "text encoder"];
for (const table of document.querySelectorAll("table[data-filtered]")) {
  const rows = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  const bar = document.createElement("form"), count = document.createElement("output");
  bar.className = "filters";
  bar.addEventListener("submit", (event) => event.preventDefault());
  const words = document.createElement("input");
  words.type = "search";
  words.placeholder = "words a row must hold";
  words.setAttribute("aria-label", "words a row must hold");
  const selects = CHOICES.map((name) => [heads.indexOf(name), name]).filter(([column]) => column >= 0).map(([column, name]) => {
    const select = document.createElement("select");
    select.setAttribute("aria-label", name);
    select.append(new Option(`any ${name}`, ""));
    for (const value of new Set(rows.map((row) => row.cells[column].textContent))) select.append(new Option(value, value));
    return [column, select];
  });
  const apply = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(wanted.every((word) => text.includes(word)) &&
        selects.every(([column, select]) => !select.value || row.cells[column].textContent === select.value));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length}`;
  };
  bar.append(words, ...selects.map((pair) => pair[1]), count);
  bar.addEventListener("input", apply);
  table.closest(".table").before(bar);
  apply();
}

// --- interactive plots: Plotly is read when the first of them is asked for ---
function loadPlotly() {
  if (window.Plotly) return;
  const script = document.createElement("script");
  script.textContent = document.getElementById("plotting-script").textContent;
  document.head.append(script);
}
function drawPlot(figure, place) {
  loadPlotly();
  const plot = JSON.parse(document.getElementById(`plot-${figure.dataset.plot}`).textContent);
  const ink = getComputedStyle(document.body).color;
  plot.layout.font = { color: ink };
  delete plot.layout.width;
  plot.layout.height = 420;
  window.Plotly.newPlot(place, plot.data, plot.layout, { displaylogo: false, responsive: true });
}
for (const figure of document.querySelectorAll("figure[data-plot]")) {
  const still = figure.querySelector(".plot"), live = document.createElement("div"), button = document.createElement("button");
  live.className = "live";
  live.hidden = true;
  still.after(live);
  button.type = "button";
  button.className = "toggle";
  button.textContent = "Interactive";
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    live.hidden = !live.hidden;
    still.hidden = !live.hidden;
    button.setAttribute("aria-pressed", String(!live.hidden));
    if (!live.hidden && !live.hasChildNodes()) drawPlot(figure, live);
  });
  figure.prepend(button);
}

// --- a link to a trial opens its part of the page ---
function openTarget() {
  const target = document.getElementById(decodeURIComponent(window.location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
}
window.addEventListener("hashchange", openTarget);
openTarget();

// --- a phone starts with a closed index; paper has everything open and nothing interactive ---
if (window.matchMedia("(max-width: 60rem)").matches) document.getElementById("index").open = false;
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("main details")) part.open = true;
});
