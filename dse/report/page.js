"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll("[data-figure]")];
  const root = document.documentElement;
  const paperWidth = 660;   // a figure keeps its width when printed; this one fits A4 and Letter
  const config = {
    responsive: true, displaylogo: false, typesetMath: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };

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

  function draw(extra) {
    const template = theme();
    for (const plot of plots) {
      const figure = figures[plot.dataset.figure];
      Plotly.react(plot, figure.data, { ...figure.layout, ...extra, template }, config);
    }
  }

  function printing(now) {
    root.classList.toggle("printing", now);
    draw(now ? { width: paperWidth, autosize: false } : {});
  }

  draw({});
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw({}));
  addEventListener("beforeprint", () => printing(true));
  addEventListener("afterprint", () => printing(false));
})();
