// How numbers and times are written in the browser; monitoring/units.py writes the same on the server.
(function () {
  "use strict";
  const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  const SHORT = ["", "k", "M", "G", "T", "P"];
  const SPANS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function trim(value, digits) {
    const text = value.toFixed(digits);
    return (text.includes(".") ? text.replace(/\.?0+$/, "") : text).replace("-", "−");
  }

  function scaled(value, step, names, gap) {
    let size = Math.abs(value), place = 0;
    while (size >= step && place < names.length - 1) { size /= step; place += 1; }
    if (place === 0 && size > 0 && size < 0.01) return String(Number(value.toPrecision(2)));
    const text = trim(value < 0 ? -size : size, size >= 100 ? 0 : size >= 10 ? 1 : 2);
    return text + (names[place] ? gap : "") + names[place];
  }

  function span(seconds) {
    const sign = seconds < 0 ? "−" : "";
    let rest = Math.abs(seconds);
    if (rest < 1) return rest ? `${sign}${Math.round(rest * 1000)} ms` : "0 s";
    if (rest < 10) return `${sign}${trim(rest, 1)} s`;
    rest = Math.round(rest);
    for (let place = 0; place < SPANS.length; place += 1) {
      const [size, name] = SPANS[place];
      if (rest < size) continue;
      const whole = Math.floor(rest / size);
      const finer = whole < 10 ? SPANS[place + 1] : undefined;
      const more = finer ? Math.floor((rest % size) / finer[0]) : 0;
      return `${sign}${whole} ${name}` + (more ? ` ${more} ${finer[1]}` : "");
    }
    return "0 s";
  }

  function format(value, unit) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (!Number.isFinite(value)) return value > 0 ? "+∞" : "−∞";
    if (unit === "percent") return `${trim(value, 1)} %`;
    if (unit === "ratio") return `${trim(value * 100, 1)} %`;
    if (unit === "bytes" || unit === "bytes/s") return scaled(value, 1024, BINARY, " ") + unit.slice(5);
    if (unit === "seconds") return span(value);
    const short = scaled(value, 1000, SHORT, "");
    return unit && unit !== "short" ? `${short} ${unit}` : short;
  }

  // Steps of a value axis that look round in the unit: 1, 2, 4 … of 1024 for bytes, 1, 2, 5 … of 10 for the rest.
  function axisSteps(unit) {
    const steps = [];
    if (unit === "bytes" || unit === "bytes/s") {
      for (let power = 0; power < 7; power += 1)
        for (const part of [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]) steps.push(part * 1024 ** power);
    } else {
      for (let power = -9; power < 16; power += 1) for (const part of [1, 2, 2.5, 5]) steps.push(part * 10 ** power);
    }
    return steps;
  }

  // Places of values without a neighbour: a line of one point would not be seen.
  function alone(values) {
    const is = (place) => values[place] !== null && values[place] !== undefined;
    const places = [];
    for (let place = 0; place < values.length; place += 1)
      if (is(place) && !is(place - 1) && !is(place + 1)) places.push(place);
    return places.length ? places : null;
  }

  function two(number) { return String(number).padStart(2, "0"); }

  function clock(seconds, zone) {
    const date = new Date(seconds * 1000);
    const utc = zone === "utc";
    const parts = utc
      ? [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()]
      : [date.getHours(), date.getMinutes(), date.getSeconds()];
    const day = utc
      ? `${date.getUTCFullYear()}-${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())}`
      : `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
    return { day, time: parts.map(two).join(":") };
  }

  window.alphaqUnits = { format, span, axisSteps, alone, clock };
})();
