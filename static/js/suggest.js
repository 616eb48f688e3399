// Draws how often each limit would have fired: alphaqCurve(element, result, {choose}). `choose` gets the number that is
// clicked; without it the numbers are only shown. result: what alerts/suggest.py gives.
(function () {
  "use strict";
  const WIDTH = 640, HEIGHT = 240, LEFT = 46, RIGHT = 12, TOP = 26, BOTTOM = 24;
  const SVG = "http://www.w3.org/2000/svg";

  function node(tag, attributes, text) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function element(tag, className, text) {
    const made = document.createElement(tag);
    made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function often(perWeek) {
    if (perWeek === 0) return "never";
    if (perWeek >= 14) return `${Math.round(perWeek / 7)} a day`;
    if (perWeek >= 0.95) return `${trim(perWeek)} a week`;
    return `one in ${Math.round(1 / perWeek)} weeks`;
  }

  function trim(value) { return value >= 10 ? String(Math.round(value)) : String(Number(value.toFixed(1))); }

  // Three digits: nobody wants a limit of 87.3428.
  function round(value) { return Number(value.toPrecision(3)); }

  // Episodes a week between two candidates: the nearer one's, since counts are steps.
  function rateAt(points, value) {
    let best = points[0];
    for (const point of points) if (Math.abs(point[0] - value) < Math.abs(best[0] - value)) best = point;
    return best[1];
  }

  class Curve {
    constructor(root, result, options) {
      this.result = result;
      this.choose = options.choose;
      this.unit = (value) => window.alphaqUnits.format(value, result.unit);
      this.box = element("div", "aq-curve");
      this.say = element("p", "aq-curve-say");
      root.replaceChildren(this.box);
      const width = root.clientWidth || WIDTH;
      this.width = Math.max(280, width - 2);
      this.scales();
      this.box.append(this.headline(), this.drawing(), this.say, this.marks());
      this.rest();
    }

    scales() {
      const xs = [...this.result.points.map((point) => point[0]), this.result.now, ...this.result.marks.map((mark) => mark.value)];
      const low = Math.min(...xs), high = Math.max(...xs), span = high - low || 1;
      const top = Math.max(7, ...this.result.points.map((point) => point[1]));
      this.x = (value) => LEFT + ((value - low) / span) * (this.width - LEFT - RIGHT);
      this.value = (x) => low + ((x - LEFT) / (this.width - LEFT - RIGHT)) * span;
      // Counts go from one a week to thousands; the few are what matters.
      this.y = (rate) => HEIGHT - BOTTOM - (Math.log1p(rate) / Math.log1p(top)) * (HEIGHT - TOP - BOTTOM);
      this.top = top;
    }

    headline() {
      const { result } = this;
      const days = Math.round(result.days * 10) / 10;
      const hold = result.hold ? `, past the limit for ${result.hold}` : "";
      const coarse = result.step_seconds >= 60 ? `, looked at every ${window.alphaqUnits.span(result.step_seconds)}` : "";
      return element("p", "aq-muted",
        `Episodes a week by limit, in ${days} days of ${result.series} series${hold}${coarse}. `
        + `The limit now, ${this.unit(result.now)}: ${often(result.now_per_week)}.`);
    }

    drawing() {
      const svg = node("svg", { viewBox: `0 0 ${this.width} ${HEIGHT}`, role: "img", "aria-label": "Episodes a week by limit" });
      for (const rate of [0, 1, 7, 70, 700, 7000].filter((one) => one <= this.top)) {
        const y = this.y(rate);
        svg.append(node("line", { class: "axis", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }),
          node("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, rate === 0 ? "0" : rate === 7 ? "1/day" : rate > 7 ? `${rate / 7}/day` : "1/week"));
      }
      for (let place = 0; place <= 4; place += 1) {
        const x = LEFT + (place / 4) * (this.width - LEFT - RIGHT);
        svg.append(node("text", { x, y: HEIGHT - 6, "text-anchor": place === 0 ? "start" : place === 4 ? "end" : "middle" }, this.unit(round(this.value(x)))));
      }
      const places = this.result.points.map(([limit, rate]) => [this.x(limit), this.y(rate)]);
      const path = places.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
      const floor = this.y(0), first = places[0], last = places[places.length - 1];
      svg.append(node("path", { class: "area", d: `${path}L${last[0]} ${floor}L${first[0]} ${floor}Z` }), node("path", { class: "line", d: path }));
      this.lines(svg);
      this.hand = node("line", { class: "hand", y1: TOP, y2: floor, visibility: "hidden" });
      const plot = node("rect", { class: "plot", x: LEFT, y: 0, width: this.width - LEFT - RIGHT, height: HEIGHT - BOTTOM });
      plot.addEventListener("pointermove", (event) => this.point(svg, event));
      plot.addEventListener("pointerleave", () => this.rest());
      plot.addEventListener("click", (event) => { if (this.choose) this.choose(round(this.at(svg, event)), this.result); });
      svg.append(this.hand, plot);
      return svg;
    }

    lines(svg) {
      const floor = this.y(0);
      const now = this.x(this.result.now);
      svg.append(node("line", { class: "now", x1: now, x2: now, y1: TOP, y2: floor }), node("text", { x: now, y: 10, "text-anchor": "middle" }, "now"));
      for (const mark of this.result.marks) {
        const x = this.x(mark.value);
        svg.append(node("line", { class: "mark", x1: x, x2: x, y1: this.y(mark.per_week), y2: floor }),
          node("circle", { class: "dot", cx: x, cy: this.y(mark.per_week), r: 4.5 }));
      }
    }

    at(svg, event) {
      const box = svg.getBoundingClientRect();
      return this.value((event.clientX - box.left) * (this.width / box.width));
    }

    point(svg, event) {
      const value = round(this.at(svg, event)), x = this.x(value);
      this.hand.setAttribute("x1", x);
      this.hand.setAttribute("x2", x);
      this.hand.setAttribute("visibility", "visible");
      const todo = this.choose ? " Click to take it." : "";
      this.say.textContent = `${this.result.operator} ${this.unit(value)}: ${often(rateAt(this.result.points, value))}.${todo}`;
    }

    rest() {
      this.hand.setAttribute("visibility", "hidden");
      this.say.textContent = this.choose ? "Take a number from the curve or below; it is saved only with the rule." : "";
    }

    marks() {
      const list = element("div", "aq-curve-marks");
      for (const mark of this.result.marks) {
        const button = element(this.choose ? "button" : "div", "aq-curve-mark");
        button.append(element("i", "", mark.name), element("b", "", mark.text), element("span", "", [often(mark.per_week), mark.words].filter(Boolean).join("; ")));
        if (this.choose) {
          button.type = "button";
          button.dataset.aqMark = mark.key;
          button.addEventListener("click", () => this.choose(mark.value, this.result));
        }
        list.append(button);
      }
      if (!list.children.length) list.append(element("p", "aq-muted", "No mark can be given: even the highest value is passed too often."));
      return list;
    }
  }

  window.alphaqCurve = (root, result, options) => new Curve(root, result, options || {});
})();
