"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const views = new Map();
  let pending = 0;

  // The static picture stands until every chart of its figure is drawn, so a failed chart leaves a picture, not a hole.
  async function draw(panel) {
    const old = views.get(panel);
    if (old) old.finalize();
    const theme = data.themes[dark.matches ? "dark" : "light"];
    const spec = structuredClone(data.specs[panel.dataset.chart]);
    views.set(panel, await vegaEmbed(panel, spec, { mode: "vega-lite", actions: false, renderer: "svg", config: theme }));
  }

  async function drawFigure(figure) {
    figure.classList.add("live");
    pending += 1;
    try {
      for (const panel of figure.querySelectorAll(".panel")) await draw(panel);
    } catch (error) {
      figure.classList.remove("live");
      console.error(error);
    } finally {
      pending -= 1;
      if (pending === 0) performance.mark("charts drawn");
      if (pending === 0) document.documentElement.dataset.charts = "drawn";
    }
  }

  function visible(figure) {
    const details = figure.closest("details");
    return !details || details.open;
  }

  function drawAll() {
    for (const figure of document.querySelectorAll("figure.chart")) if (visible(figure)) drawFigure(figure);
  }

  drawAll();
  dark.addEventListener("change", drawAll);
  for (const details of document.querySelectorAll("details.more")) {
    details.addEventListener("toggle", () => {
      if (details.open) for (const figure of details.querySelectorAll("figure.chart:not(.live)")) drawFigure(figure);
    });
  }

  // A page opened from disk may have no clipboard: select the text and copy it the old way.
  async function copy(button) {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      const range = document.createRange();
      range.selectNodeContents(code);
      const selection = window.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }
  for (const button of document.querySelectorAll("button.copy")) button.addEventListener("click", () => copy(button));
})();
