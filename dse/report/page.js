"use strict";
(async () => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const paperWidth = 660;   // a figure keeps its width when printed; this one fits A4 and Letter
  const config = {
    responsive: true, displaylogo: false, typesetMath: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };

  // What the page stores compressed (gzip, base64), by the id of its element.
  async function unpacked(id) {
    const coded = atob(byId(id).textContent);
    const bytes = new Uint8Array(coded.length);
    for (let i = 0; i < coded.length; i += 1) bytes[i] = coded.charCodeAt(i);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  function made(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  // ---- figures ----

  // The figures carry no ink of their own: they take the page's, which follows light and dark.
  function theme() {
    const css = getComputedStyle(root);
    const colour = (name) => css.getPropertyValue(name).trim();
    const axis = { gridcolor: colour("--grid"), linecolor: colour("--grid"), zerolinecolor: colour("--grid"),
                   title: { font: { size: 13 } } };
    return { layout: {
      font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 12 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--faint"), align: "left",
                    font: { color: colour("--ink") } },
    } };
  }

  let extra = {};   // what printing adds to every layout

  function draw(plot, template) {
    const figure = shape(plot.dataset.figure);
    if (!figure) return;
    delete plot.dataset.stale;
    Plotly.react(plot, figure.data, { ...figure.layout, ...extra, template }, config);
    if (!plot.dataset.heard && ["front", "parallel"].includes(plot.dataset.figure)) {
      plot.dataset.heard = "clicks";
      plot.on("plotly_click", (event) => {
        const id = event.points[0].customdata;
        if (typeof id === "number") go({ plan: id });
      });
    }
  }

  // A figure is drawn when it comes near the window: the page opens as fast as its first screen.
  const near = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) near.add(target); else near.delete(target);
      if (isIntersecting && target.dataset.stale) draw(target, theme());
    }
  }, { rootMargin: "400px" });

  function watch(plot) {
    watcher.observe(plot);
  }

  function drawAll(everything = false) {
    const template = theme();
    for (const plot of document.querySelectorAll("[data-figure]")) {
      plot.dataset.stale = "yes";
      plot.style.minHeight = `${shape(plot.dataset.figure)?.layout.height ?? 0}px`;
      if (everything || near.has(plot)) draw(plot, template);
    }
  }

  // A figure as it is now: the front and the parallel lines follow the chosen plan.
  function shape(key) {
    const figure = state.figures[key] ?? all.figures[key];
    if (figure && key === "front") return frontNow(figure);
    if (figure && key === "parallel") return parallelNow(figure);
    return figure;
  }

  // ---- the front: any two metrics, intervals, density, the ring about the chosen plan ----

  function frontNow(figure) {
    const { metrics, values } = figure.choice;
    const find = (name, other) => metrics.find((m) => m.name === name) ?? metrics.find((m) => m.name === other);
    const x = find(state.x, figure.choice.x), y = find(state.y, figure.choice.y);
    const roles = figure.data.map((trace) => trace.meta);
    const words = `%{hovertext}<br>${x.title} %{x:${x.hover}<br>${y.title} %{y:${y.hover}<extra></extra>`;
    const data = figure.data.map((trace, i) => {
      const own = { ...trace, x: values[i][x.name] ?? [], y: values[i][y.name] ?? [] };
      if (trace.meta === "faint" || trace.meta === "more") own.hovertemplate = words;
      if (trace.meta === "line") return { ...own, ...staircase(figure, roles, x, y) };
      if (trace.meta === "ring") return { ...own, ...ring(figure, roles, x, y), visible: true };
      if (trace.meta === "chips") return { ...own, text: spaced(own, values, x, y), visible: checked("chips") };
      if (trace.meta === "member" && checked("intervals")) return { ...own, ...intervals(values[i], x, y) };
      return own;
    });
    if (checked("density")) {
      const shade = counted(figure.choice.cells, x, y)
        ?? density(data.find((trace) => trace.meta === "faint"), x.axis.type, y.axis.type);
      if (shade) data.unshift(shade);
    }
    return { data, layout: { ...figure.layout, xaxis: x.axis, yaxis: y.axis, shapes: [...x.lines.x, ...y.lines.y] } };
  }

  function checked(name) {
    const box = byId(`show-${name}`);
    return Boolean(box && box.checked);
  }

  // Error bars from the ends of the 80 % intervals, of all points or of one.
  function intervals(values, x, y, only = null) {
    const bars = {};
    for (const [side, metric] of [["error_x", x], ["error_y", y]]) {
      const [low, mid, high] = [`${metric.name} low`, metric.name, `${metric.name} high`].map((key) => values[key]);
      if (!low) continue;
      const at = only === null ? mid.map((_, i) => i) : [only];
      const gap = (a, b) => at.map((i) => (a[i] === null || b[i] === null ? 0 : Math.abs(a[i] - b[i])));
      bars[side] = { type: "data", symmetric: false, array: gap(high, mid), arrayminus: gap(mid, low),
                     thickness: 1, width: 3 };
    }
    return bars;
  }

  // Names of points, but for those that would write over the name of an earlier one.
  function spaced(trace, values, x, y) {
    const places = [[x, trace.x, 0.16], [y, trace.y, 0.035]].map(([metric, own, least]) => {
      const scale = metric.axis.type === "log" ? Math.log10 : (v) => v;
      const known = values.flatMap((group) => group[metric.name] ?? []).filter((v) => v !== null).map(scale);
      const span = known.reduce((a, b) => Math.max(a, b)) - known.reduce((a, b) => Math.min(a, b));
      return own.map((v) => (v === null ? NaN : scale(v) / (span || 1) / least));
    });
    const named = [];
    return trace.text.map((text, i) => {
      const free = named.every((k) => Math.abs(places[0][i] - places[0][k]) > 1 || Math.abs(places[1][i] - places[1][k]) > 1);
      if (free) named.push(i);
      return free ? text : "";
    });
  }

  function ring(figure, roles, x, y) {
    for (const [i, trace] of figure.data.entries()) {
      const at = roles[i] === "member" ? trace.customdata.indexOf(state.plan) : -1;
      if (at < 0) continue;
      const own = figure.choice.values[i];
      return { x: [own[x.name][at]], y: [own[y.name][at]], hovertext: [trace.hovertext[at]], customdata: [state.plan],
               ...intervals(own, x, y, at) };
    }
    return { x: [], y: [] };
  }

  // The plans that no other beats in these two metrics.
  function staircase(figure, roles, x, y) {
    const sides = [x.better > 0 ? -1 : 1, y.better > 0 ? -1 : 1];
    const points = figure.choice.values.flatMap((own, i) => (roles[i] !== "member" ? []
      : own[x.name].map((v, k) => [v, own[y.name][k]]))).filter(([a, b]) => a !== null && b !== null);
    points.sort((a, b) => sides[0] * (a[0] - b[0]) || sides[1] * (a[1] - b[1]));
    const kept = [];
    let best = Infinity;
    for (const point of points) {
      if (sides[1] * point[1] < best) {
        kept.push(point);
        best = sides[1] * point[1];
      }
    }
    return { x: kept.map((p) => p[0]), y: kept.map((p) => p[1]) };
  }

  // How densely all feasible plans lie, where the search has counted them in these two metrics.
  function counted(density, x, y) {
    if (!density || density.x !== x.name || density.y !== y.name || x.axis.type !== "log" || y.axis.type !== "log") {
      return null;
    }
    const edge = (place) => 10 ** (place / density.per_decade);
    const sides = [0, 1].map((k) => {
      const own = density.cells.map((cell) => cell[k]);
      const low = own.reduce((a, b) => Math.min(a, b)), high = own.reduce((a, b) => Math.max(a, b));
      return { low, count: high - low + 1 };
    });
    if (sides.some((side) => side.count > 1000)) return null;
    const z = Array.from({ length: sides[1].count }, () => Array(sides[0].count).fill(null));
    density.cells.forEach(([i, j, plans]) => { z[j - sides[1].low][i - sides[0].low] = plans; });
    return shading(z, ...sides.map((side) => Array.from({ length: side.count + 1 }, (_, i) => edge(side.low + i))),
                   `about %{text} feasible plans<extra></extra>`);
  }

  function shading(z, x, y, words) {
    return { type: "heatmap", x, y, z: z.map((row) => row.map((n) => n && Math.log2(1 + n))), text: z, showscale: false,
             hoverongaps: false, ...(words ? { hovertemplate: words } : { hoverinfo: "skip" }),
             colorscale: [[0, "rgba(128,128,128,0.06)"], [1, "rgba(128,128,128,0.55)"]] };
  }

  // How densely the sampled plans lie: counts in bins that are even on the axes as they are drawn.
  function density(faint, xType, yType) {
    const scale = (type) => (type === "log" ? Math.log10 : (v) => v);
    const back = (type) => (type === "log" ? (v) => 10 ** v : (v) => v);
    const known = faint ? faint.x.map((v, i) => [v, faint.y[i]]).filter(([a, b]) => a !== null && b !== null) : [];
    if (known.length < 50) return null;
    const sides = [[0, xType, 96], [1, yType, 64]].map(([k, type, count]) => {
      const own = known.map((p) => scale(type)(p[k]));
      const low = own.reduce((a, b) => Math.min(a, b)), high = own.reduce((a, b) => Math.max(a, b));
      const step = (high - low || 1) / count;
      return { bins: own.map((v) => Math.min(count - 1, Math.floor((v - low) / step))),
               edges: Array.from({ length: count + 1 }, (_, i) => back(type)(low + i * step)) };
    });
    const z = Array.from({ length: 64 }, () => Array(96).fill(null));
    sides[0].bins.forEach((column, i) => { z[sides[1].bins[i]][column] = (z[sides[1].bins[i]][column] ?? 0) + 1; });
    return shading(z, sides[0].edges, sides[1].edges);
  }

  function parallelNow(figure) {
    const [lines, chosen] = figure.data;
    const from = lines.customdata.indexOf(state.plan);
    const to = lines.customdata.indexOf(null, from);
    const part = Object.fromEntries(["x", "y", "customdata", "hovertext"].map((key) => [key, lines[key].slice(from, to)]));
    return { ...figure, data: [lines, { ...chosen, ...part }] };
  }

  // ---- the chosen plan ----

  function tableOf(table) {
    const cell = (value) => (Array.isArray(value)
      ? made("td", { className: "number" }, Object.assign(made("data", { value: value[1] }), { textContent: value[0] }))
      : made("td", { textContent: value }));
    const rows = table.rows.map((row, i) => made("tr", { className: i === table.marked ? "marked" : "" }, ...row.map(cell)));
    const head = made("tr", {}, ...table.head.map((name) => made("th", { textContent: name, scope: "col" })));
    return made("div", { className: "scroll", tabIndex: 0 }, made("table", {},
      made("caption", { textContent: `${table.caption} ` }, made("button", { className: "csv", textContent: "CSV", type: "button" })),
      made("thead", {}, head), made("tbody", {}, ...rows)));
  }

  function fillPanel(key, panel) {
    const section = byId(key);
    section.querySelector("h3").textContent = panel.title;
    section.querySelector("p").textContent = panel.text;
    const figures = section.querySelector(".figures");
    const wanted = Object.keys(panel.captions);
    for (const box of [...figures.children]) {
      if (!wanted.includes(box.lastElementChild.dataset.figure)) box.remove();
    }
    for (const [name, words] of Object.entries(panel.captions)) {
      if (figures.querySelector(`[data-figure="${name}"]`)) continue;
      const plot = made("div", { className: "plot" });
      plot.dataset.figure = name;
      plot.setAttribute("role", "img");
      plot.setAttribute("aria-label", words);
      figures.append(made("figure", {}, made("figcaption", { textContent: words }), plot));
      watch(plot);
    }
    const details = section.querySelector("details");
    details.hidden = panel.tables.length === 0;
    details.replaceChildren(details.firstElementChild, ...panel.tables.map(tableOf));
  }

  async function show(id) {
    state.plan = id;
    const place = all.ids.indexOf(id);
    const part = JSON.parse(await unpacked(`plans-${Math.floor(place / all.together)}`));
    if (state.plan !== id) return;
    const [sentence, cards, commands] = part.words[place % all.together];
    const panels = Object.entries(part.panels).map(([key, plans]) => [key, plans[place % all.together]]);
    state.figures = Object.assign({}, ...panels.map(([, panel]) => panel.figures));
    byId("plan-title").textContent = `Plan ${id}`;
    byId("plan-words").textContent = sentence;
    byId("bar-words").textContent = `Plan ${id}: ${sentence}`;
    byId("plan-cards").replaceChildren(...cards.map(([term, value, interval]) => made("div", {},
      made("dt", { textContent: term }), made("dd", {}, `${value} `, made("small", { textContent: interval })))));
    byId("plan-commands").replaceChildren(...commands.flatMap(([words, command]) => [
      made("p", { textContent: `${words[0].toUpperCase()}${words.slice(1)}:` }),
      made("pre", {}, made("code", { textContent: command }))]));
    for (const [key, panel] of panels) fillPanel(key, panel);
    for (const row of document.querySelectorAll("tr[data-plan]")) {
      const own = row.dataset.plan === String(id);
      row.classList.toggle("marked", own);
      row.toggleAttribute("aria-current", own);
    }
    byId("previous").disabled = place <= 0;
    byId("next").disabled = place >= all.ids.length - 1;
    drawAll();
  }

  // The address holds the choice, so that a link shows the same.
  function read() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const id = Number(asked.get("plan") ?? all.chosen);
    state.x = asked.get("x");
    state.y = asked.get("y");
    for (const side of ["x", "y"]) {
      const select = byId(`axis-${side}`);
      if (select) select.value = [...select.options].some((o) => o.value === state[side]) ? state[side] : all.figures.front?.choice[side];
    }
    return show(all.ids.includes(id) ? id : all.chosen);
  }

  function go(changes) {
    const address = new URLSearchParams({ plan: state.plan, ...(state.x && { x: state.x }), ...(state.y && { y: state.y }),
                                          ...changes });
    location.hash = address.toString();
  }

  function explore() {
    for (const side of ["x", "y"]) byId(`axis-${side}`)?.addEventListener("change", (e) => go({ [side]: e.target.value }));
    for (const box of document.querySelectorAll(".controls input")) box.addEventListener("change", () => drawAll());
    for (const [name, step] of [["previous", -1], ["next", 1]]) {
      byId(name).addEventListener("click", () => go({ plan: all.ids[all.ids.indexOf(state.plan) + step] }));
    }
    byId("details").addEventListener("click", () => byId("plan").scrollIntoView({ behavior: "smooth" }));
    for (const link of document.querySelectorAll("a[data-plan]")) {
      link.addEventListener("click", (e) => { e.preventDefault(); go({ plan: Number(link.dataset.plan) }); });
    }
    addEventListener("hashchange", read);
  }

  // ---- tables as CSV, light and dark, paper ----

  // A text that a spreadsheet would take for a formula starts with an apostrophe.
  function csvCell(cell) {
    const number = cell.querySelector("data");
    const text = number ? number.value : cell.textContent;
    const safe = !number && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function download(table) {
    const lines = [...table.rows].map((row) => [...row.cells].map(csvCell).join(","));
    const file = new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" });
    const name = table.caption.firstChild.textContent.trim().toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 60);
    const link = made("a", { href: URL.createObjectURL(file), download: `${name || "table"}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function printing(now) {
    root.classList.toggle("printing", now);
    extra = now ? { width: paperWidth, autosize: false } : {};
    drawAll(now);
  }

  document.addEventListener("click", (event) => {
    if (event.target.matches(".csv")) download(event.target.closest("table"));
  });
  byId("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    drawAll();
  });

  const state = { plan: null, x: null, y: null, figures: {} };
  const all = JSON.parse(await unpacked("data"));
  document.head.append(made("script", { textContent: await unpacked("plotly") }));
  root.classList.add("live");
  document.querySelectorAll("[data-figure]").forEach(watch);
  if (all.ids?.length) {
    await read();
    explore();
  } else {
    drawAll();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
  addEventListener("beforeprint", () => printing(true));
  addEventListener("afterprint", () => printing(false));
  root.classList.add("ready");
})();
