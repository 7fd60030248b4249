/** The dashboard: three charts of the last two minutes, drawn as SVG. */

import { byId } from "./dom.js";

const SPAN = 120_000;
const WIDTH = 300;
const HEIGHT = 96;
const FRESH = 2500;
const CUT_SECONDS = 5;

const readings = JSON.parse(byId("readings").textContent);
let fromCut = null;
let waiting = false;

// scene: metrics
livepush.on("reading", (reading) => {
  readings.push(reading);
  drawSoon();
});
// scene: end
document.addEventListener("livepush:reset", () => location.reload());
byId("cut-metrics").hidden = false;
byId("cut-metrics").addEventListener("click", cut);
drawSoon();

/** Draw in the next frame, once for all readings that come before it. */
function drawSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}

function draw() {
  while (readings.length && Date.parse(readings[0].at) < Date.now() - SPAN) readings.shift();
  for (const chart of document.querySelectorAll("[data-chart]")) plot(chart, chart.dataset.chart);
}

function plot(chart, name) {
  const end = Date.parse(readings.at(-1)?.at ?? new Date());
  const top = Math.max(1, ...readings.map((reading) => reading[name])) * 1.15;
  const points = readings.map((reading) => [
    WIDTH - ((end - Date.parse(reading.at)) / SPAN) * WIDTH,
    HEIGHT - (reading[name] / top) * HEIGHT,
  ]);
  const line = points.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  chart.querySelector(".chart-line").setAttribute("d", line);
  const area = points.length ? `${line}L${WIDTH} ${HEIGHT}L${points[0][0].toFixed(1)} ${HEIGHT}Z` : "";
  chart.querySelector(".chart-area").setAttribute("d", area);
  chart.querySelector("[data-now]").textContent = readings.at(-1)?.[name] ?? "–";
  chart.querySelector("[data-top]").textContent = `top: ${Math.max(0, ...readings.map((reading) => reading[name]))}`;
}

async function cut({ currentTarget: button }) {
  button.disabled = true;
  fromCut = Date.now();
  livepush.stop();
  for (let left = CUT_SECONDS; left; left -= 1) {
    button.textContent = `Back in ${left} s`;
    await new Promise((done) => setTimeout(done, 1000));
  }
  livepush.start();
  button.textContent = `Cut the line for ${CUT_SECONDS} seconds`;
  button.disabled = false;
  const undo = livepush.on("reading", ({ at }) => {
    if (Date.parse(at) < Date.now() - FRESH) return;
    undo();
    judge();
  });
}

/** Say how many readings were taken since the line was cut, and whether one of them is missing. */
function judge() {
  const since = readings.filter(({ at }) => Date.parse(at) >= fromCut);
  const hole = since.some(({ id }, place) => place && id !== since[place - 1].id + 1);
  byId("verdict").textContent = `${since.length} readings since the cut, ${hole ? "with a hole" : "without a hole"}.`;
}
