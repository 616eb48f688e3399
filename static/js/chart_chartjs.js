// Draws a chart with the Chart.js that Unfold brings, for a portal whose browser assets were not fetched:
// the same data, tooltip, thresholds and bands; no zoom.
(function () {
  "use strict";
  const TIME_STEPS = [10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 604800];

  function marks(state, theme) {
    return {
      id: "alphaqMarks",
      beforeDatasetsDraw(chart) {
        const { ctx, chartArea: area, scales } = chart;
        ctx.save();
        for (const band of state.model.bands) {
          const left = Math.max(scales.x.getPixelForValue(band.from), area.left);
          const right = Math.min(scales.x.getPixelForValue(band.to), area.right);
          if (right <= area.left || left >= area.right) continue;
          ctx.fillStyle = theme.fade(theme.severity(band.severity), 0.1);
          ctx.fillRect(left, area.top, Math.max(right - left, 1), area.bottom - area.top);
        }
        for (const line of state.model.thresholds) {
          const y = scales.y.getPixelForValue(line.value);
          if (y < area.top || y > area.bottom) continue;
          ctx.strokeStyle = ctx.fillStyle = theme.severity(line.severity);
          ctx.setLineDash([5, 4]);
          ctx.beginPath(); ctx.moveTo(area.left, y); ctx.lineTo(area.right, y); ctx.stroke();
          if (line.label) { ctx.font = "10px Inter, sans-serif"; ctx.fillText(line.label, area.left + 5, y - 3); }
        }
        ctx.restore();
      },
    };
  }

  function radii(values) {
    const places = window.alphaqUnits.alone(values);
    return places ? values.map((_, place) => (places.includes(place) ? 2 : 0)) : 0;
  }

  function datasets(model, theme) {
    return model.series.map((one) => ({
      label: one.name, hidden: !one.shown, borderColor: one.colour(), borderWidth: 1.6, tension: 0,
      pointRadius: radii(one.values),
      spanGaps: false, stack: model.stacked ? "all" : undefined,
      fill: model.stacked ? "stack" : false, backgroundColor: theme.fade(one.colour(), 0.35),
      data: one.values.map((value, place) => ({ x: model.x[place], y: value })),
    }));
  }

  // Chart.js would cut the axes at odd places: 08:38, 559 GiB.
  function roundTicks(steps, most) {
    return (axis) => {
      const step = steps.find((one) => (axis.max - axis.min) / one <= most) || steps[steps.length - 1];
      axis.ticks = [];
      for (let value = Math.ceil(axis.min / step) * step; value <= axis.max; value += step) axis.ticks.push({ value });
    };
  }

  function draw(place, model, theme) {
    const state = { model };
    const { format, clock } = window.alphaqUnits;
    const holder = place.appendChild(document.createElement("div"));
    holder.className = "aq-chart-holder";
    holder.style.height = `${model.height}px`;
    const canvas = holder.appendChild(document.createElement("canvas"));
    const ticks = { color: theme.axis(), font: { size: 11 }, maxRotation: 0, autoSkipPadding: 24 };
    const chart = new window.Chart(canvas, {
      type: "line",
      data: { datasets: datasets(model, theme) },
      plugins: [marks(state, theme)],
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, parsing: false, normalized: true,
        interaction: { mode: "index", intersect: false, axis: "x" },
        scales: {
          x: { type: "linear", bounds: "data", grid: { display: false }, afterBuildTicks: roundTicks(TIME_STEPS, 6),
            ticks: { ...ticks, callback: (value) => clock(value).time.slice(0, 5) } },
          y: { min: 0, max: model.maximum, stacked: model.stacked, grid: { color: theme.grid() },
            afterBuildTicks: roundTicks(window.alphaqUnits.axisSteps(model.unit), 5),
            ticks: { ...ticks, callback: (value) => format(value, model.unit) } },
        },
        plugins: {
          legend: { display: false }, datalabels: { display: false },
          tooltip: { callbacks: {
            title: (items) => (items.length ? `${clock(items[0].parsed.x, "utc").time} UTC` : ""),
            label: (item) => `${item.dataset.label}: ${format(item.parsed.y, model.unit)}`,
          } },
        },
      },
    });
    return {
      update(next) {
        state.model = next;
        chart.data.datasets = datasets(next, theme);
        chart.update("none");
      },
      destroy() { chart.destroy(); holder.remove(); },
      plot: chart,
    };
  }

  window.alphaqChartJs = { name: "chartjs", draw };
})();
