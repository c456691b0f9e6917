// The switches, zoom and selection of the graph, and the sorting of tables. Nothing is loaded from anywhere.
"use strict";
(() => {
  const known = JSON.parse(document.getElementById("known").textContent);
  const graphs = [...document.querySelectorAll("svg.graph")];
  const panel = document.getElementById("panel");
  const views = new Map(graphs.map((graph) => [graph.id, null]));
  const MARGIN = 12, STEP = 1.25, FURTHEST = 40, READABLE = 0.75;

  const shown = () => graphs.find((graph) => !graph.classList.contains("hidden"));
  const size = (graph) => [Number(graph.dataset.width), Number(graph.dataset.height)];

  function apply(graph) {
    const {x, y, scale} = views.get(graph.id);
    graph.querySelector(".scene").setAttribute("transform", `translate(${x} ${y}) scale(${scale})`);
  }

  function fit(graph, whole) {
    const box = graph.getBoundingClientRect(), [width, height] = size(graph);
    if (!box.width) return;
    const across = (box.width - 2 * MARGIN) / width, down = (box.height - 2 * MARGIN) / height;
    const scale = whole ? Math.min(across, down, 1.2) : Math.min(Math.max(Math.min(across, down), READABLE), 1.2);
    const left = width * scale < box.width ? (box.width - width * scale) / 2 : focusLeft(graph, scale, box.width);
    views.set(graph.id, {x: left, y: MARGIN, scale});
    apply(graph);
  }

  // A graph that is wider than the canvas starts with its first box in the middle.
  function focusLeft(graph, scale, width) {
    const place = centre(graph.querySelector(".node"));
    return width / 2 - place[0] * scale;
  }

  function centre(node) {
    const [, left, top] = /translate\(([-\d.]+) ([-\d.]+)\)/.exec(node.getAttribute("transform"));
    const box = node.querySelector("rect");
    return [Number(left) + box.width.baseVal.value / 2, Number(top) + box.height.baseVal.value / 2];
  }

  function zoom(graph, factor, x, y) {
    const view = views.get(graph.id), scale = Math.min(FURTHEST, Math.max(0.01, view.scale * factor));
    const change = scale / view.scale;
    views.set(graph.id, {x: x - (x - view.x) * change, y: y - (y - view.y) * change, scale});
    apply(graph);
  }

  function show(graph, node) {
    const box = graph.getBoundingClientRect(), view = views.get(graph.id), [x, y] = centre(node);
    const scale = Math.max(view.scale, READABLE);
    views.set(graph.id, {x: box.width / 2 - x * scale, y: box.height / 2 - y * scale, scale});
    apply(graph);
  }

  for (const graph of graphs) {
    graph.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = graph.getBoundingClientRect();
      zoom(graph, Math.pow(STEP, -Math.sign(event.deltaY)), event.clientX - box.left, event.clientY - box.top);
    }, {passive: false});
    let from = null;
    graph.addEventListener("pointerdown", (event) => {
      from = {x: event.clientX, y: event.clientY, view: views.get(graph.id), moved: false};
    });
    graph.addEventListener("pointermove", (event) => {
      if (!from || !(event.buttons & 1)) return;
      const x = event.clientX - from.x, y = event.clientY - from.y;
      if (!from.moved && Math.abs(x) + Math.abs(y) < 4) return;
      if (!from.moved) graph.setPointerCapture(event.pointerId);
      from.moved = true;
      views.set(graph.id, {...from.view, x: from.view.x + x, y: from.view.y + y});
      apply(graph);
    });
    graph.addEventListener("click", (event) => {
      const node = event.target.closest(".node");
      if (node && !(from && from.moved)) select(node.dataset.key);
    });
    graph.addEventListener("keydown", (event) => {
      const node = event.target.closest(".node");
      if (node && (event.key === "Enter" || event.key === " ")) {
        event.preventDefault();
        select(node.dataset.key);
      }
    });
  }

  function list(facts) {
    const place = document.createElement("dl");
    for (const [name, text] of facts) {
      place.append(Object.assign(document.createElement("dt"), {textContent: name}));
      place.append(Object.assign(document.createElement("dd"), {textContent: text}));
    }
    return place;
  }

  function select(key) {
    const entry = known[key];
    if (!entry) return;
    const steps = entry.steps || [];
    panel.replaceChildren(Object.assign(document.createElement("h3"), {textContent: entry.title}), list(entry.facts));
    for (const step of steps) {
      const other = known[step];
      panel.append(Object.assign(document.createElement("h3"), {textContent: other.title}), list(other.facts));
    }
    const members = new Set(key.startsWith("k") ? Object.keys(known).filter((each) => (known[each].steps || []).includes(key)) : steps);
    for (const node of document.querySelectorAll(".node, table.plan tr[data-key]")) {
      node.classList.toggle("chosen", node.dataset.key === key);
      node.classList.toggle("member", members.has(node.dataset.key));
    }
    panel.scrollTop = 0;
  }

  for (const input of document.querySelectorAll("input[name=graph]")) {
    input.addEventListener("change", () => {
      for (const graph of graphs) graph.classList.toggle("hidden", graph.id !== input.value);
      if (!views.get(input.value)) fit(shown(), false);
    });
  }
  function colour(name) {
    for (const graph of graphs) graph.dataset.colour = name;
    for (const key of document.querySelectorAll(".key")) key.classList.toggle("shown", key.dataset.of === name);
  }
  for (const input of document.querySelectorAll("input[name=colour]")) {
    input.addEventListener("change", () => colour(input.value));
  }
  const middle = (graph) => [graph.getBoundingClientRect().width / 2, graph.getBoundingClientRect().height / 2];
  const actions = {
    in: () => zoom(shown(), STEP, ...middle(shown())),
    out: () => zoom(shown(), 1 / STEP, ...middle(shown())),
    fit: () => fit(shown(), true),
    top: () => fit(shown(), false),
  };
  for (const button of document.querySelectorAll("button[data-zoom]")) {
    button.addEventListener("click", actions[button.dataset.zoom]);
  }
  const search = document.getElementById("search");
  let hits = [], hit = -1;
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    hits = [];
    hit = -1;
    for (const node of shown().querySelectorAll(".node")) {
      const entry = known[node.dataset.key];
      const found = wanted && (entry.title + " " + entry.names).toLowerCase().includes(wanted);
      node.classList.toggle("dim", Boolean(wanted) && !found);
      if (found) hits.push(node);
    }
    document.getElementById("found").textContent = wanted ? `${hits.length} found, Enter goes to them` : "";
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !hits.length) return;
    hit = (hit + 1) % hits.length;
    show(shown(), hits[hit]);
    select(hits[hit].dataset.key);
  });

  for (const table of document.querySelectorAll("table.plan")) {
    const body = table.tBodies[0];
    const value = (row, column) => {
      const cell = row.cells[column];
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    };
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending" ? 1 : head.hasAttribute("aria-sort") ? -1 : 0;
        const numbers = typeof value(body.rows[0], column) === "number";
        const direction = up || (numbers && column ? -1 : 1);
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        const rows = [...body.rows].map((row) => [value(row, column), row]);
        rows.sort(([a], [b]) => direction * (numbers ? a - b : String(a).localeCompare(String(b))));
        body.append(...rows.map(([, row]) => row));
      });
    });
    body.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-key]");
      if (!row) return;
      select(row.dataset.key);
      const node = shown().querySelector(`.node[data-key="${row.dataset.key}"]`);
      if (node) show(shown(), node);
    });
  }

  colour("time");
  fit(shown(), false);
  const slowest = Object.keys(known).filter((key) => key.startsWith("k")).sort((a, b) => known[b].seconds - known[a].seconds)[0];
  if (slowest) select(slowest);
})();
