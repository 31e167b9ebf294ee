// Draws the page's data with Vega and answers tabs, menus and the slider. Text from the user's
// model only ever becomes text nodes and attributes.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);

  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (value !== null && value !== undefined) made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== ""));
    return made;
  }

  // The interpreter (`ast`) needs no `eval`, which the page's content policy forbids.
  async function drawn(spec, container) {
    const description = container.getAttribute("aria-label");
    const made = await vegaEmbed(container, { ...spec, description }, { 
      mode: "vega", renderer: "svg", ast: true, actions: false, defaultStyle: false,
    });
    return made.view;
  }

  function filled(spec, values) {
    return { ...spec, data: spec.data.map(({ name }) => ({ name, values: values[name] })) };
  }

  function percent(share) {
    if (share <= 0) return "0 %";
    if (share < 0.001) return "<0.1 %";
    if (share > 0.999 && share < 1) return ">99.9 %";
    return `${Number((share * 100).toPrecision(share < 0.1 ? 2 : 3))} %`;
  }

  const power = (exponent) => `2^${Number(exponent.toFixed(1))}`;

  // Share of a row's elements below 2^border; elements spread evenly over their binade.
  function shareBelow(row, border) {
    let total = 0;
    let below = 0;
    row.counts.forEach((count, index) => {
      total += count;
      below += count * Math.min(1, Math.max(0, border - (row.first + index)));
    });
    return total ? below / total : 0;
  }

  function sharesOf(row, format, shift) {
    const flushed = shareBelow(row, format.flushed - shift);
    const subnormal = shareBelow(row, format.normal - shift) - flushed;
    const saturated = 1 - shareBelow(row, format.saturated - shift);
    return row.counts.length ? { flushed, subnormal, saturated } : { flushed: 0, subnormal: 0, saturated: 0 };
  }

  class FloatLine {
    static async drawnFor(line) {
      const view = await drawn(data.specs.line, byId("line-chart"));
      const losses = await drawn(data.specs.scales, byId("scale-chart"));
      return new FloatLine(line, view, losses);
    }

    constructor(line, view, losses) {
      this.line = line;
      this.open = new Set();
      this.view = view;
      this.losses = losses;
      this.phase = line.phase;
      this.choose(line.chosen);
      this.listen();
      new ResizeObserver(() => this.layout()).observe(byId("line-plot"));
    }

    get trace() { return this.line.traces[this.position]; }
    get format() { return this.line.formats[this.formatName]; }
    get shift() { return this.phase === "backward" ? this.power - this.trace.scale : 0; }

    choose(position) {
      this.position = position;
      this.power = this.trace.scale;
      this.formatName = this.trace.format ?? "float16";
      byId("format").value = this.formatName;
    }

    listen() {
      const menu = byId("trace");
      this.line.traces.forEach((trace, index) => menu.append(element("option", { value: index }, trace.title)));
      menu.value = this.position;
      menu.addEventListener("change", () => { this.choose(Number(menu.value)); this.layout(); });
      byId("format").addEventListener("change", (event) => { this.formatName = event.target.value; this.layout(); });
      const slider = byId("scale");
      slider.min = this.line.scales[0];
      slider.max = this.line.scales.at(-1);
      slider.addEventListener("input", () => { this.power = Number(slider.value); this.rescale(); });
      const tabs = [...document.querySelectorAll('[role="tab"]')];
      tabs.forEach((tab, index) => {
        tab.addEventListener("click", () => this.turnTo(tab.dataset.phase));
        tab.addEventListener("keydown", (event) => {
          const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
          const ends = { Home: 0, End: tabs.length - 1 };
          const next = step ? (index + step + tabs.length) % tabs.length : ends[event.key];
          if (next === undefined) return;
          event.preventDefault();
          tabs[next].focus();
          this.turnTo(tabs[next].dataset.phase);
        });
      });
    }

    turnTo(phase) {
      this.phase = phase;
      this.layout();
    }

    // All rows that are to be seen: layers, and the operations of those that are open.
    rows() {
      return this.trace.phases[this.phase].rows.flatMap((row) => {
        const key = `${this.phase} ${row.label}`;
        const layer = { row, key, operation: false };
        if (!this.open.has(key)) return [layer];
        return [layer, ...row.operations.map((inner) => ({ row: inner, key: null, operation: true }))];
      });
    }

    layout() {
      for (const tab of document.querySelectorAll('[role="tab"]')) {
        const chosen = tab.dataset.phase === this.phase;
        tab.setAttribute("aria-selected", chosen);
        tab.tabIndex = chosen ? 0 : -1;
        if (chosen) byId("panel").setAttribute("aria-labelledby", tab.id);
      }
      byId("scale-panel").hidden = this.phase !== "backward";
      const total = byId("line-plot").clientWidth;
      const narrow = total < 640;
      const left = narrow ? 0 : Math.min(270, Math.round(total * 0.27));
      const right = narrow ? 0 : 112;
      const width = Math.max(120, total - left - right);
      byId("line-plot").style.setProperty("--left", `${left}px`);
      byId("line-plot").style.setProperty("--right", `${right}px`);
      byId("line-chart").style.left = `${left}px`;
      this.fill(this.rows(), narrow, width);
      this.rescale();
      this.note();
    }

    fill(rows, narrow, width) {
      const head = 86;
      const list = byId("line-rows");
      const focused = document.activeElement?.dataset?.key;
      const bars = [];
      const lines = [];
      this.cells = [];
      list.replaceChildren(this.headRow(head));
      let y = 0;
      for (const entry of rows) {
        const height = entry.operation ? (narrow ? 52 : 26) : narrow ? 64 : 40;
        y += height;
        list.append(this.domRow(entry, height));
        lines.push({ y: y - 1 });
        bars.push(...this.barsOf(entry.row, y - 1, height - (narrow ? 26 : 5)));
      }
      if (focused) list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
      const windows = Object.entries(this.line.formats).map(([name, format], row) =>
        ({ ...format, row, chosen: name === this.formatName }));
      this.view.data("bars", bars).data("lines", lines).data("windows", windows);
      for (const name of ["flushed", "normal", "saturated"]) this.view.signal(name, this.format[name]);
      this.view.width(width).height(head + y);
      byId("scale-panel").style.setProperty("--width", `${width}px`);
    }

    // Whether a row is computed in the chosen format, or only would be; of a format that the step
    // does not use at all, everything is a question of what would be, and nothing is set apart.
    real(row) {
      return this.trace.format !== this.formatName || row.dtypes.includes(this.formatName);
    }

    barsOf(row, y, height) {
      const real = this.real(row);
      const most = Math.max(...row.counts, 1);
      return row.counts.flatMap((count, index) => count === 0 ? [] : [{
        e: row.first + index, y, real, h: Math.max(1.5, height * Math.sqrt(count / most)),
        title: `${row.label}: ${count.toLocaleString("en")} at 2^${row.first + index}`,
      }]);
    }

    headRow(height) {
      const row = element("div", { role: "row", class: "line-row head", style: `height:${height}px` });
      row.append(
        element("span", { role: "columnheader", class: "name" }, "layer"),
        element("span", { role: "columnheader", class: "plot" }, element("span", { class: "hidden-text" }, "magnitudes in powers of two")),
        element("span", { role: "columnheader", class: "shares" }, `in ${this.format.name}`),
      );
      return row;
    }

    domRow({ row, key, operation }, height) {
      const made = element("div", { role: "row", class: `line-row${operation ? " operation" : ""}`, style: `height:${height}px` });
      const label = element("span", { class: "label", title: row.label }, row.label);
      const kind = element("span", { class: "kind" }, operation ? `${row.dtypes}, ${row.kind}` : row.kind);
      const words = element("span", { class: "words" }, label, kind);
      const name = element("span", { role: "rowheader", class: "name" });
      if (operation || !row.operations.length) {
        name.append(words);
      } else {
        const open = this.open.has(key);
        const button = element("button", { type: "button", "aria-expanded": open, "data-key": key }, words);
        button.addEventListener("click", () => {
          if (open) this.open.delete(key); else this.open.add(key);
          this.layout();
        });
        name.append(button);
      }
      const told = this.told(row);
      const plot = element("span", { role: "cell", class: "plot" }, element("span", { class: "hidden-text" }, told));
      const shares = element("span", { role: "cell", class: "shares", title: told });
      made.append(name, plot, shares);
      this.cells.push({ row, shares, most: operation ? 1 : 2 });
      return made;
    }

    told(row) {
      const { counts, first } = row;
      const range = counts.length
        ? `from 2^${first} to 2^${first + counts.length}, most near 2^${first + counts.indexOf(Math.max(...counts))}`
        : "no finite magnitudes";
      return `${row.elements} elements in ${row.dtypes}, ${range}${row.lost ? `; in this step ${row.lost}` : ""}`;
    }

    // What depends on the loss scale alone; cheap enough for every movement of the slider.
    rescale() {
      const { format, shift } = this;
      for (const { row, shares, most } of this.cells) {
        const { flushed, subnormal, saturated } = sharesOf(row, format, shift);
        const parts = [
          [saturated, "d", "over"], [flushed, "w", "lost"], [subnormal, "s", "shallow"],
        ].filter(([share]) => share > 0.00005).slice(0, most);
        shares.replaceChildren(...parts.map(([share, name, word]) => element("span", { class: name }, `${percent(share)} ${word}`)));
        shares.classList.toggle("unreal", !this.real(row));
        if (!parts.length) shares.append(row.counts.length ? "afloat" : "all zero");
      }
      this.view.signal("shift", shift).runAsync();
      if (this.phase === "backward") this.showScale();
    }

    showScale() {
      const { trace, power: now } = this;
      const lost = trace.lost[this.formatName];
      const slider = byId("scale");
      slider.value = Math.round(now);
      slider.setAttribute("aria-valuetext", `2 to the power ${Number(now.toFixed(1))}`);
      const traced = now === trace.scale ? (trace.scaled ? ", as traced" : ", none in force") : "";
      byId("scale-value").textContent = `${power(now)}${traced}`;
      const index = Math.round(now) - this.line.scales[0];
      byId("scale-lost").textContent = lost.flushed.length
        ? `Of the backward pass ${percent(lost.flushed[index])} under water, ${percent(lost.saturated[index])} over the deck`
        : "This step has no backward pass";
      byId("scale-window").textContent = this.windowWords(lost);
      byId("scale-window").classList.toggle("none", lost.low > lost.high);
      const areas = this.line.scales.map((scale, i) => ({ scale, flushed: lost.flushed[i] ?? 0, saturated: lost.saturated[i] ?? 0 }));
      this.losses.data("lost", areas).signal("now", now).signal("traced", trace.scale);
      this.losses.signal("low", lost.low ?? 0).signal("high", lost.high ?? lost.low ?? 0);
      this.losses.width(byId("scale-chart").clientWidth || 300).runAsync();
    }

    windowWords(lost) {
      if (lost.low === null || lost.high === null) return "";
      const [low, high] = [power(lost.low), power(lost.high)];
      const ends = `${lost.needs_more} needs at least ${low}; ${lost.needs_less} allows at most ${high}`;
      return lost.low <= lost.high
        ? `Window of loss scales for ${this.format.name}: ${low} to ${high} (green). ${ends}.`
        : `No single loss scale serves ${this.format.name}: ${ends}.`;
    }

    note() {
      const found = this.trace.phases[this.phase];
      const parts = ["Height: square root of the number of elements, so that thin tails stay visible."];
      if (!found.rows.every((row) => this.real(row))) {
        parts.push(`Pale rows are not computed in ${this.format.name}; they show what it would do to them.`);
      }
      if (!found.rows.length) parts.unshift("Nothing was measured in this phase.");
      if (found.hidden) parts.push(`${found.hidden} further layers are not drawn.`);
      if (this.trace.left_out) parts.push(`${this.trace.left_out.toLocaleString("en")} operations are counted in their layers but not listed.`);
      byId("line-note").textContent = parts.join(" ");
    }
  }

  async function curves(figure, chart) {
    if (!chart) return;
    figure.hidden = false;
    const legend = figure.querySelector(".legend");
    for (const { name, colour } of chart.legend) {
      legend.append(element("span", { style: `--swatch: var(--${colour})` }, name));
    }
    if (chart.marks.length) legend.append(element("span", { style: "--swatch: var(--deck)" }, "skipped or not finite"));
    const container = figure.querySelector(".chart");
    container.setAttribute("aria-label", `${container.getAttribute("aria-label")}. ${chart.words}`);
    const lines = chart.lines.map((point) => ({ ...point, colour: `var(--${point.colour})` }));
    const view = await drawn(filled(data.specs[chart.kind], { ...chart, lines }), container);
    const trial = figure.dataset.chart.startsWith("trial");
    const resize = () => {
      view.width(Math.max(100, figure.clientWidth - 60)).height(trial || figure.dataset.chart === "scale" ? 130 : 220).runAsync();
    };
    new ResizeObserver(resize).observe(figure);
  }

  // Where the browser keeps its clipboard shut, the text is selected for the reader to copy.
  async function copy(button) {
    const source = byId(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
  }

  for (const button of document.querySelectorAll("[data-copies]")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button));
  }
  if (data.line.traces.length) FloatLine.drawnFor(data.line);
  for (const figure of document.querySelectorAll("[data-chart]")) {
    const name = figure.dataset.chart;
    curves(figure, name.startsWith("trial-") ? data.trials[Number(name.slice(6))] : data[name]);
  }
})();
