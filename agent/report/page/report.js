"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  let data = JSON.parse($("data").textContent);
  let chosen = null;

  // What a task rests on, itself included: each after its own inputs.
  const chainOf = (place) => {
    const seen = new Set();
    const order = [];
    const stack = [[place, false]];
    while (stack.length) {
      const [at, done] = stack.pop();
      if (done) { order.push(at); continue; }
      if (seen.has(at)) continue;
      seen.add(at);
      stack.push([at, true]);
      for (const [need] of data.inputs[at]) stack.push([need, false]);
    }
    return order;
  };
  const WAYS = { argument: "in its arguments", item: "one call for each item", condition: "in its condition", order: "only waits for it" };

  const add = (parent, name, text, attributes) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    parent.append(made);
    return made;
  };

  const mark = (chain) => {
    const lit = chain && new Set(chain);
    for (const canvas of document.querySelectorAll(".canvas")) canvas.classList.toggle("dim", Boolean(chain));
    for (const shape of document.querySelectorAll("[data-tasks]")) {
      const places = shape.dataset.tasks.trim().split(" ").map(Number);
      shape.classList.toggle("lit", Boolean(lit) && places.some((each) => lit.has(each)));
    }
    const nodes = {};
    for (const node of document.querySelectorAll(".node")) nodes[node.dataset.tasks.trim().split(" ")[0]] = node;
    for (const line of document.querySelectorAll(".edges path")) {
      const ends = [nodes[line.dataset.from], nodes[line.dataset.to]];
      line.classList.toggle("lit", Boolean(lit) && ends.every((each) => each && each.classList.contains("lit")));
    }
  };

  const show = (place, from) => {
    const task = $(`task-${place}`);
    const panel = $("panel");
    if (!task || !panel) return;
    chosen = place;
    const chain = chainOf(place);
    panel.replaceChildren();
    const head = add(panel, "header");
    add(head, "h2", data.names[place]);
    add(head, "button", "Close", { type: "button", "data-close": "" });
    if (from) add(panel, "p", from, { class: "note" });
    const others = chain.slice(0, -1);
    if (others.length) {
      add(panel, "h3", `Rests on ${others.length} task${others.length === 1 ? "" : "s"}, the first to run first`);
      const list = add(panel, "ol", "", { class: "chain" });
      for (const each of others.slice(0, 200)) {
        const item = add(list, "li");
        add(item, "button", data.names[each], { type: "button", "data-show": String(each) });
        const direct = data.inputs[place].find(([need]) => need === each);
        if (direct) add(item, "span", ` ${direct[2]} ${WAYS[direct[1]]}`, { class: "muted" });
      }
      if (others.length > 200) add(panel, "p", `and ${others.length - 200} more`, { class: "note" });
    } else {
      add(panel, "p", "It rests on no other task.", { class: "note" });
    }
    const inside = task.querySelector(".inside").cloneNode(true);
    for (const each of inside.querySelectorAll("[id]")) each.removeAttribute("id");
    panel.append(inside);
    panel.hidden = false;
    panel.focus({ preventScroll: true });
    mark(chain);
  };

  let opener = null;
  const close = () => {
    $("panel").hidden = true;
    chosen = null;
    mark(null);
    if (opener && opener.isConnected) opener.focus({ preventScroll: true });
  };

  const filter = () => {
    if (!$("find")) return;
    const text = $("find").value.trim().toLowerCase();
    const status = $("status").value;
    const critical = $("critical").checked;
    const only = filter.only;
    let count = 0;
    const tasks = document.querySelectorAll(".task");
    for (const task of tasks) {
      const fits = (!text || task.firstElementChild.textContent.toLowerCase().includes(text))
        && (!status || task.dataset.status === status) && (!critical || "critical" in task.dataset)
        && (!only || only.has(task.dataset.place));
      task.hidden = !fits;
      if (fits) count += 1;
    }
    const all = !text && !status && !critical && !only;
    $("matches").textContent = all ? "" : `${count} of ${tasks.length} tasks`;
  };
  filter.only = null;

  const zooms = {};
  const zoom = (id, way) => {
    const canvas = $(id);
    const picture = canvas && canvas.querySelector("svg");
    if (!picture) return;
    const [, , width, height] = picture.getAttribute("viewBox").split(" ").map(Number);
    const free = canvas.clientWidth - 24;
    let scale = zooms[id] || 1;
    if (way === "fit") scale = Math.min(1, free / width, id === "graph" ? 580 / height : 1);
    if (way === "start") scale = Math.min(1, Math.max(free / width, width > 6 * free ? 0 : 0.72));
    if (way === "in") scale = Math.min(4, scale * 1.4);
    if (way === "out") scale = Math.max(0.02, scale / 1.4);
    zooms[id] = scale;
    picture.setAttribute("width", String(width * scale));
    picture.setAttribute("height", String(height * scale));
    canvas.classList.toggle("far", id === "graph" && scale < 0.45);
  };
  const start = () => {
    for (const id of ["graph", "bars"]) zoom(id, "start");
    for (const id of ["graph", "bars"]) {
      const first = $(id) && $(id).querySelector("a[data-tasks]");
      if (first) first.setAttribute("tabindex", "0");
    }
  };

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-zoom], [data-close], [data-show], a[href^='#task-'], a[data-tasks], #theme");
    if (!target || event.ctrlKey || event.metaKey) return;
    if (target.dataset.zoom) return zoom(target.dataset.for, target.dataset.zoom);
    if ("close" in target.dataset) return close();
    if (target.id === "theme") {
      const dark = getComputedStyle(document.documentElement).colorScheme === "dark"
        || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
      document.documentElement.dataset.theme = dark ? "light" : "dark";
      return undefined;
    }
    const panel = target.closest("#panel");
    if (!panel) opener = target;
    if (target.dataset.show) return show(Number(target.dataset.show));
    event.preventDefault();
    const places = (target.dataset.tasks || "").trim().split(" ").filter(Boolean);
    if (places.length > 1) {
      filter.only = new Set(places);
      filter();
      $("tasks").scrollIntoView();
      $("find").focus({ preventScroll: true });
      return undefined;
    }
    const from = target.classList.contains("num") ? `The number ${target.textContent} is in this result.` : "";
    return show(Number(target.getAttribute("href").slice("#task-".length)), from);
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen !== null) return close();
    if (event.key === "Escape" && filter.only) { filter.only = null; return filter(); }
    const canvas = event.target.closest && event.target.closest(".canvas");
    if (!canvas || !event.key.startsWith("Arrow")) return undefined;
    const shapes = [...canvas.querySelectorAll("a[data-tasks]")];
    const here = event.target.closest("a[data-tasks]");
    if (!here && (event.target !== canvas || canvas.scrollWidth > canvas.clientWidth)) return undefined;
    event.preventDefault();
    const next = here ? nearest(here, shapes, event.key) : shapes[0];
    if (next) {
      for (const each of shapes) each.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
      next.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    return undefined;
  });
  // The shape that is nearest in the direction of the key; what lies aside counts double.
  const nearest = (here, shapes, key) => {
    const middle = (shape) => { const box = shape.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; };
    const [x, y] = middle(here);
    let best = null;
    let least = Infinity;
    for (const shape of shapes) {
      if (shape === here) continue;
      const [toX, toY] = middle(shape);
      const along = { ArrowRight: toX - x, ArrowLeft: x - toX, ArrowDown: toY - y, ArrowUp: y - toY }[key];
      const aside = Math.abs(key === "ArrowRight" || key === "ArrowLeft" ? toY - y : toX - x);
      if (along > 1 && along + 2 * aside < least) { least = along + 2 * aside; best = shape; }
    }
    return best;
  };

  document.addEventListener("input", (event) => {
    if (["find", "status", "critical"].includes(event.target.id)) { filter.only = null; filter(); }
  });
  addEventListener("beforeprint", () => {
    const tasks = document.querySelectorAll("details");
    if (tasks.length <= 200) for (const each of tasks) each.open = true;
  });
  addEventListener("hashchange", () => {
    const task = document.querySelector(":target.task");
    if (task) task.open = true;
  });

  // The live page: asks its own server for a newer one, and keeps what the reader has opened.
  const refresh = async () => {
    let version = "";
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, document.hidden ? 5000 : 1000));
      let answer;
      try {
        answer = await fetch(location.href.split("#")[0], { headers: version ? { "If-None-Match": version } : {}, cache: "no-store" });
      } catch {
        if ($("live")) $("live").textContent = "the run has ended or was stopped; this page is as it was last";
        return;
      }
      if (answer.status !== 200) continue;
      version = answer.headers.get("ETag") || "";
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const open = new Set([...document.querySelectorAll("details[open][id]")].map((each) => each.id));
      const scrolls = ["graph", "bars"].map((id) => $(id) && [$(id).scrollLeft, $(id).scrollTop]);
      const kept = $("find") ? [$("find").value, $("status").value, $("critical").checked] : null;
      data = JSON.parse(page.getElementById("data").textContent);
      const focused = document.activeElement && document.activeElement.id;
      $("main").replaceWith(page.getElementById("main"));
      document.querySelector("nav ul").replaceWith(page.querySelector("nav ul"));
      for (const id of open) if ($(id)) $(id).open = true;
      for (const id of ["graph", "bars"]) if (zooms[id]) zoom(id, "keep"); else zoom(id, "start");
      ["graph", "bars"].forEach((id, at) => { if ($(id) && scrolls[at]) [$(id).scrollLeft, $(id).scrollTop] = scrolls[at]; });
      if (kept && $("find")) { [$("find").value, $("status").value, $("critical").checked] = kept; filter(); }
      if (focused && $(focused)) $(focused).focus({ preventScroll: true });
      if (chosen !== null) mark(chainOf(chosen));
    }
  };
  start();
  if (document.body.classList.contains("live")) refresh();
})();
