// The picture of measured curves: lines with bands on a canvas, a click on which asks at that strength; files of it.
// Knows nothing of how curves are come by.
import { Chart, colour } from "../../components/chart.js";
import { html, signal, useMemo, useRef } from "../../html.js";
import { signed } from "../play/words.js";
import { linesOf } from "./figures.js";

const HEIGHT = 380;
const BAND_ALPHA = 0.14;
/** Counts changes of the theme: a canvas does not follow them by itself. */
const scheme = signal(0);
const changed = () => (scheme.value += 1);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
new MutationObserver(changed).observe(document.documentElement, { attributeFilter: ["data-theme"] });

const faint = (name) => colour(name).replace(/^rgb\((.*)\)$/, `rgba($1, ${BAND_ALPHA})`);

/** {data, options} for uPlot. */
function plotOf(versions, measures, onPick) {
  const lines = linesOf(versions, measures);
  const xs = [...new Set(lines.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b);
  const data = [xs];
  const series = [{}];
  const bands = [];
  const add = (line, of, options) => {
    const at = new Map(line.points.map((point) => [point.x, of(point)]));
    data.push(xs.map((x) => at.get(x) ?? null));
    series.push({ spanGaps: true, points: { show: false }, ...options });
  };
  for (const line of lines) {
    if (line.band) {
      add(line, ({ high }) => high, { width: 0, stroke: "transparent" });
      add(line, ({ low }) => low, { width: 0, stroke: "transparent" });
      bands.push({ series: [series.length - 2, series.length - 1], fill: faint(line.colour) });
    }
    const marks = { show: line.measure.name === "trait", size: 7, fill: colour(line.colour), stroke: colour("surface") };
    add(line, ({ mean }) => mean, { width: 2, stroke: colour(line.colour), dash: line.dash, points: marks });
  }
  const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px system-ui, sans-serif" };
  const options = {
    series, bands,
    scales: { x: { time: false }, y: { range: [-2, 102] } },
    axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => signed(tick)) }, { ...axis, size: 44, values: (_, ticks) => ticks.map(String) }],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: false } },
    hooks: {
      draw: [(plot) => marksOn(plot, versions)],
      ready: [(plot) => plot.over.addEventListener("click", () => plot.cursor.idx != null && onPick(xs[plot.cursor.idx]))],
    },
  };
  return { data, options };
}

/** Where 0 is, and where answers fall apart. */
function marksOn(plot, versions) {
  const { ctx, bbox } = plot;
  const upright = (x, name, dash) => {
    const at = Math.round(plot.valToPos(x, "x", true)) + 0.5;
    ctx.strokeStyle = colour(name);
    ctx.setLineDash(dash);
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
  };
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  upright(0, "strong-line", []);
  for (const { sweeps } of versions) {
    if (sweeps.positive?.collapse != null) upright(sweeps.positive.collapse, "danger", [4, 4]);
    if (sweeps.negative?.collapse != null) upright(-sweeps.negative.collapse, "danger", [4, 4]);
  }
  ctx.restore();
}

/** `table` is what Table takes; `onPick` gets the coefficient that was clicked. */
export function Picture({ label, versions, measures, table, onPick }) {
  const frame = useRef(null);
  const pick = useRef(onPick);
  pick.current = onPick;
  const theme = scheme.value;
  const { data, options } = useMemo(() => plotOf(versions, measures, (x) => pick.current(x)), [versions, measures.join(), theme]);
  return html`<div class="curves" ref=${frame}><${Chart} label=${label} data=${data} options=${options} height=${HEIGHT} table=${table} /></div>`;
}

/** The canvas as a PNG on the ground it is seen on. */
export function pngOf(canvas) {
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  const ctx = copy.getContext("2d");
  ctx.fillStyle = colour("surface");
  ctx.fillRect(0, 0, copy.width, copy.height);
  ctx.drawImage(canvas, 0, 0);
  return new Promise((done) => copy.toBlob(done, "image/png"));
}
