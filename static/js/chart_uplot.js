// Draws a chart with uPlot: crosshair and zoom shared by name, tooltip, thresholds, bands, stacking, gaps.
(function () {
  "use strict";
  const groups = new Map();  // sync name → plots that zoom together

  // Stacked values from the bottom up; a gap counts as nothing but stays a gap in its own series.
  function stack(series) {
    const floor = new Array(series.length ? series[0].values.length : 0).fill(0);
    return series.map((one) => (one.shown === false ? one.values.map(() => null)
      : one.values.map((value, place) => (value === null ? null : (floor[place] += value)))));
  }

  function columns(model) {
    return [model.x, ...(model.stacked ? stack(model.series) : model.series.map((one) => one.values))];
  }

  function bounds(model) {
    return (plot, low, high) => {
      if (model.maximum !== undefined) return [0, model.maximum];
      let top = high === null ? 1 : high, bottom = low === null ? 0 : low;
      for (const line of model.thresholds) if (line.value > top && line.value < top * 2) top = line.value;
      if (bottom >= 0) bottom = 0;
      if (top === bottom) top = bottom + 1;
      return [bottom < 0 ? bottom - (top - bottom) * 0.05 : 0, top + (top - bottom) * 0.08];
    };
  }

  // Bands behind the lines: when alerts fired. Thresholds over them: what is too much.
  function marks(model, theme) {
    const behind = (plot) => {
      const { ctx, bbox } = plot;
      ctx.save();
      for (const band of model.current().bands) {
        const left = Math.max(plot.valToPos(band.from, "x", true), bbox.left);
        const right = Math.min(plot.valToPos(band.to, "x", true), bbox.left + bbox.width);
        if (right <= bbox.left || left >= bbox.left + bbox.width) continue;
        ctx.fillStyle = theme.fade(theme.severity(band.severity), 0.1);
        ctx.fillRect(left, bbox.top, Math.max(right - left, 1), bbox.height);
        ctx.fillStyle = theme.severity(band.severity);
        ctx.fillRect(left, bbox.top + bbox.height - 3 * devicePixelRatio, Math.max(right - left, 1), 3 * devicePixelRatio);
      }
      ctx.restore();
    };
    const over = (plot) => {
      const { ctx, bbox } = plot;
      ctx.save();
      ctx.font = `${10 * devicePixelRatio}px Inter, sans-serif`;
      ctx.textAlign = "left";
      ctx.textBaseline = "alphabetic";
      for (const line of model.thresholds) {
        const y = Math.round(plot.valToPos(line.value, "y", true)) + 0.5;
        if (y < bbox.top || y > bbox.top + bbox.height) continue;
        ctx.strokeStyle = ctx.fillStyle = theme.severity(line.severity);
        ctx.lineWidth = devicePixelRatio;
        ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
        ctx.beginPath(); ctx.moveTo(bbox.left, y); ctx.lineTo(bbox.left + bbox.width, y); ctx.stroke();
        if (line.label) ctx.fillText(line.label, bbox.left + 5 * devicePixelRatio, y - 3 * devicePixelRatio);
      }
      ctx.restore();
    };
    return { hooks: { drawClear: behind, draw: over } };
  }

  function tooltip(model, theme) {
    const box = document.createElement("div");
    box.className = "aq-tip";
    box.hidden = true;
    const move = (plot) => {
      const { idx, left, top } = plot.cursor;
      // A synced crosshair moves in every chart; only the one under the pointer explains itself.
      if (idx === null || idx === undefined || left < 0 || !plot.over.matches(":hover")) { box.hidden = true; return; }
      const { x, series, unit } = model.current();
      const local = window.alphaqUnits.clock(x[idx]), utc = window.alphaqUnits.clock(x[idx], "utc");
      const head = document.createElement("p");
      head.textContent = local.time === utc.time ? `${utc.day} ${utc.time} UTC` : `${local.day} ${local.time} · ${utc.time} UTC`;
      const rows = series.filter((one) => one.shown && one.values[idx] !== null && one.values[idx] !== undefined)
        .sort((a, b) => b.values[idx] - a.values[idx]);
      const lines = rows.slice(0, 10).map((one) => {
        const line = document.createElement("div"), swatch = document.createElement("i");
        const name = document.createElement("span"), value = document.createElement("b");
        swatch.style.background = one.colour();
        name.textContent = one.name;
        value.textContent = window.alphaqUnits.format(one.values[idx], unit);
        line.append(swatch, name, value);
        return line;
      });
      if (rows.length > 10) { const more = document.createElement("div"); more.textContent = `and ${rows.length - 10} more`; lines.push(more); }
      for (const band of model.current().bands.filter((one) => one.label && one.from <= x[idx] && x[idx] <= one.to)) {
        const line = document.createElement("div");
        line.className = `aq-tip-band is-${band.severity}`;
        line.textContent = `${band.label} fires`;
        lines.push(line);
      }
      if (!rows.length) { const none = document.createElement("div"); none.textContent = "no sample"; lines.push(none); }
      box.replaceChildren(head, ...lines);
      box.hidden = false;
      const width = plot.over.clientWidth, space = box.offsetWidth + 16;
      box.style.left = `${left + space > width ? Math.max(left - space, -40) : left + 16}px`;
      box.style.top = `${Math.max(-10, Math.min(top, plot.over.clientHeight - box.offsetHeight + 30))}px`;
    };
    return { hooks: { init: (plot) => plot.over.append(box), setCursor: move } };
  }

  function zoomTogether(name) {
    let quiet = false;
    const share = (plot, key) => {
      if (key !== "x" || quiet) return;
      const { min, max } = plot.scales.x;
      for (const other of groups.get(name) || []) {
        if (other.plot === plot || (other.plot.scales.x.min === min && other.plot.scales.x.max === max)) continue;
        other.zoom(min, max);
      }
    };
    return { share, hush: (work) => { quiet = true; try { work(); } finally { quiet = false; } } };
  }

  function optionsOf(model, theme, place, extra) {
    const { format } = window.alphaqUnits;
    const axis = { stroke: theme.axis, font: "11px Inter, sans-serif", ticks: { show: false } };
    const grid = { stroke: theme.grid, width: 1 };
    const line = (one, order) => ({
      label: one.name, stroke: one.colour, width: 1.6, show: one.shown, spanGaps: false,
      points: { show: false, size: 4, fill: one.colour, filter: (plot, at) => window.alphaqUnits.alone(plot.data[at]) },
      fill: model.stacked ? () => theme.fade(one.colour(), 0.35)
        : model.series.length === 1 && order === 0 ? () => theme.fade(one.colour(), 0.1) : undefined,
    });
    return {
      width: Math.max(place.clientWidth, 120), height: model.height, legend: { show: false }, padding: [10, 16, 0, 0],
      cursor: {
        sync: model.sync ? { key: model.sync, setSeries: false } : undefined, drag: { x: true, y: false },
        points: { size: 6 }, focus: { prox: 24 },
      },
      focus: { alpha: 0.35 },
      scales: { x: { time: true }, y: { range: bounds(model) } },
      axes: [
        { ...axis, grid: { show: false }, space: 64, values: "{HH}:{mm}", size: 26 },
        { ...axis, grid, size: 58, incrs: window.alphaqUnits.axisSteps(model.unit), space: 34,
          values: (plot, marks) => marks.map((mark) => format(mark, model.unit)) },
      ],
      series: [{}, ...model.series.map(line)],
      ...extra,
    };
  }

  // Times on the x axis in the reader's zone: seconds when zoomed in, days when zoomed out.
  function timeMarks(plot, marks, axis, space, step) {
    const two = (number) => String(number).padStart(2, "0");
    let day = "";
    return marks.map((mark) => {
      const date = new Date(mark * 1000);
      const today = date.toDateString();
      const time = `${two(date.getHours())}:${two(date.getMinutes())}` + (step < 60 ? `:${two(date.getSeconds())}` : "");
      const isNew = day !== "" && today !== day;
      day = today;
      if (step >= 86400) return `${date.getDate()}.${date.getMonth() + 1}.`;
      return isNew ? `${date.getDate()}.${date.getMonth() + 1}. ${time}` : time;
    });
  }

  function draw(place, model, theme) {
    let now = model, isZoomed = false;
    model.current = () => now;
    const zoom = zoomTogether(model.sync);
    const seen = (plot, key) => {
      if (key !== "x") return;
      const { min, max } = plot.scales.x, x = now.x;
      isZoomed = x.length > 1 && (min > x[0] || max < x[x.length - 1]);
      if (model.sync) zoom.share(plot, key);
    };
    const options = optionsOf(model, theme, place, {
      plugins: [marks(model, theme), tooltip(model, theme)], hooks: { setScale: [seen] },
    });
    options.axes[0].values = timeMarks;
    // Areas of a stack reach down to the series below, not to the axis.
    const ordered = model.stacked ? { ...options, bands: model.series.slice(1).map((_, at) => ({ series: [at + 2, at + 1] })) } : options;
    const plot = new window.uPlot(ordered, columns(model), place);
    const member = { plot, zoom: (min, max) => zoom.hush(() => plot.setScale("x", { min, max })) };
    if (model.sync) groups.set(model.sync, (groups.get(model.sync) || new Set()).add(member));
    const resize = new ResizeObserver(() => {
      if (place.clientWidth && place.clientWidth !== plot.width) plot.setSize({ width: place.clientWidth, height: model.height });
    });
    resize.observe(place);
    return {
      update(next) {
        next.current = () => now;
        now = next;
        const { min, max } = plot.scales.x;
        plot.batch(() => {
          plot.setData(columns(next), !isZoomed);
          if (isZoomed) zoom.hush(() => plot.setScale("x", { min, max }));
        });
      },
      destroy() {
        resize.disconnect();
        if (model.sync) groups.get(model.sync).delete(member);
        plot.destroy();
      },
      plot,
    };
  }

  window.alphaqChartUplot = { name: "uplot", draw };
})();
