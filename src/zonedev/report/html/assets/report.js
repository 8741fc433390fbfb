"use strict";
const { texts, functions, traces, through } = JSON.parse(document.getElementById("data").textContent);

function make(tag, props = {}, ...children) {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
}

/* --- a counterexample: a lane for each task, steps downwards, changes beside them ------------------ */

class Viewer {
  constructor(details) {
    this.key = key(details);
    this.trace = traces[this.key];
    this.place = details.querySelector(".viewer");
    this.said = details.querySelector("summary").textContent;
    this.rows = [];
    this.draw();
  }

  draw() {
    const { lanes, columns, rows, steps, loop } = this.trace;
    const head = make("tr", {}, make("th", { scope: "col" }, "step"));
    for (const [task, kind] of lanes) head.append(make("th", { scope: "col", className: kind }, task));
    for (const [where] of columns) head.append(make("th", { scope: "col" }, texts[where]));
    this.now = columns.map(([, , initial]) => make("th", {}, texts[initial]));
    const now = make("tr", {}, make("th", { scope: "row", colSpan: lanes.length + 1 }, "value at this step"), ...this.now);
    const body = make("tbody");
    let last = [-1, -1];
    for (const [at, row] of rows.entries()) {
      const [n, lane, , call] = row;
      if (n === loop) body.append(this.band("again", "From here on this repeats for ever:"));
      if (last[0] !== lane || last[1] !== call) body.append(this.call(lane, call));
      last = [lane, call];
      body.append(this.step(at, row));
    }
    this.broken = this.band("broken", this.said);
    body.append(this.broken);
    const table = make("table", {}, make("caption", { className: "away" }, `Counterexample ${this.key}, ${steps} steps`),
      make("thead", {}, head, now), body);
    this.beside = make("div", { className: "beside" });
    this.beside.setAttribute("aria-live", "polite");
    const scroll = make("div", { className: "scroll lanes" }, table);
    const keys = make("p", { className: "keys" });
    keys.innerHTML = "<kbd>↑</kbd> <kbd>↓</kbd> step, <kbd>←</kbd> <kbd>→</kbd> task switch, <kbd>Home</kbd> <kbd>End</kbd>; the number of a step is a link to it.  Steps that change nothing shown here, such as locks, are left out.";
    this.place.append(keys, make("div", { className: "stage" }, scroll, this.beside));
    this.place.addEventListener("keydown", (event) => this.key_down(event));
  }

  band(kind, text) {
    const { lanes, columns } = this.trace;
    return make("tr", { className: kind }, make("td", { colSpan: 1 + lanes.length + columns.length }, text));
  }

  call(lane, call) {
    const { lanes, columns } = this.trace;
    const row = make("tr", { className: "call" }, make("td"));
    for (let n = 0; n < lane; n++) row.append(make("td", { className: lanes[n][1] }));
    row.append(make("td", { className: lanes[lane][1], colSpan: lanes.length - lane + columns.length }, make("code", {}, texts[call])));
    return row;
  }

  step(at, [n, lane, name, , , , , , changes]) {
    const { lanes, columns } = this.trace;
    const link = make("a", { href: `#${this.key}/${n}` }, String(n));
    const row = make("tr", { className: "step" }, make("th", { scope: "row" }, link));
    for (const [number, [, kind]] of lanes.entries())
      row.append(make("td", { className: kind }, number === lane ? make("code", {}, texts[name]) : ""));
    const cells = columns.map(() => make("td"));
    for (let i = 0; i < changes.length; i += 2) {
      cells[changes[i]].textContent = texts[changes[i + 1]];
      cells[changes[i]].className = "value";
    }
    row.append(...cells);
    row.addEventListener("click", () => { location.hash = link.hash; });
    this.rows.push({ row, link, n, lane });
    return row;
  }

  /** Select the drawn step with this number, or the one before it. */
  go(n, focus) {
    const drawn = this.rows.findLastIndex((r) => r.n <= n);
    this.select(Math.max(drawn, 0), focus);
  }

  select(at, focus) {
    this.rows[this.at]?.row.classList.remove("at");
    this.at = at;
    const { row, link } = this.rows[at];
    row.classList.add("at");
    this.values(at + 1).forEach((value, number) => { this.now[number].textContent = texts[value]; });
    this.tell(this.trace.rows[at], this.changes(at));
    if (focus) link.focus({ preventScroll: true });
    if (at === this.rows.length - 1) this.broken.scrollIntoView({ block: "nearest" });
    row.scrollIntoView({ block: "nearest" });
  }

  /** The values of the columns before the drawn step `at`. */
  values(at) {
    const values = this.trace.columns.map(([, , initial]) => initial);
    for (const [, , , , , , , , changes] of this.trace.rows.slice(0, at))
      for (let i = 0; i < changes.length; i += 2) values[changes[i]] = changes[i + 1];
    return values;
  }

  /** What a drawn step changes, wherever its columns are. */
  changes(at) {
    const before = this.values(at), after = this.values(at + 1);
    return this.trace.columns.flatMap(([where], i) =>
      before[i] === after[i] ? [] : [`${texts[where]} ${texts[before[i]]} -> ${texts[after[i]]}`]);
  }

  tell([n, lane, name, , file, line, first, statement, , quiet], changes) {
    const parts = [make("p", {}, `Step ${n}, ${this.trace.lanes[lane][0]}: `, make("code", {}, `${texts[name]} at ${texts[file]}:${line}`))];
    if (changes.length) parts.push(make("p", {}, changes.join(", ")));
    const text = functions[`${texts[file]}:${first}`];
    const code = make("pre", { tabIndex: 0, role: "region", ariaLabel: "Source" });
    let marked;
    if (text === undefined) code.append(texts[statement]);
    else texts[text].split("\n").forEach((content, number) => {
      const here = number + first === line;
      const span = make(here ? "mark" : "span", {}, `${String(number + first).padStart(4)}  ${content}`);
      if (here) marked = span;
      code.append(span, "\n");
    });
    parts.push(code);
    if (quiet.length) parts.push(make("p", { className: "keys" }, "also: " + quiet.map((t) => texts[t]).join(", ")));
    this.beside.replaceChildren(...parts);
    if (marked) code.scrollTop = marked.offsetTop - code.offsetTop - code.clientHeight / 2;
  }

  key_down(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const last = this.rows.length - 1;
    const turn = (by) => {
      let at = this.at;
      while (at + by >= 0 && at + by <= last && this.rows[at + by].lane === this.rows[this.at].lane) at += by;
      return Math.min(Math.max(at + by, 0), last);
    };
    const to = { ArrowDown: () => Math.min(this.at + 1, last), ArrowUp: () => Math.max(this.at - 1, 0),
      ArrowRight: () => turn(1), ArrowLeft: () => turn(-1), Home: () => 0, End: () => last }[event.key];
    if (!to || this.at === undefined) return;
    event.preventDefault();
    this.select(to(), true);
    history.replaceState(null, "", `#${this.key}/${this.rows[this.at].n}`);
  }
}

const viewers = new Map();

const key = (details) => details.querySelector("div").id;

function viewer(details) {
  if (!traces[key(details)]) return null;
  if (!viewers.has(key(details))) viewers.set(key(details), new Viewer(details));
  return viewers.get(key(details));
}

/* --- links: #scenario/design/17 ------------------------------------------------------------------- */

function follow() {
  const [scenario, design, step] = decodeURIComponent(location.hash.slice(1)).split("/");
  const article = document.getElementById(scenario)?.closest("article.scenario");
  if (!article) return;
  article.style.contentVisibility = "visible"; /* or nothing in it can have the focus, and it moves */
  const details = design && document.getElementById(`${scenario}/${design}`)?.closest("details.trace");
  if (details) details.open = true;
  const found = details && viewer(details);
  if (!step || found?.at === undefined)
    (details ?? document.getElementById(location.hash.slice(1)) ?? article).scrollIntoView();
  if (found && step) found.go(Number(step), true);
  else if (found) found.select(found.at ?? 0, true);
}

document.addEventListener("toggle", (event) => {
  const details = event.target;
  if (!details.open || !details.classList.contains("trace")) return;
  const found = viewer(details);
  if (found && found.at === undefined) found.go(1, false);
}, true);
addEventListener("hashchange", follow);

/* --- the filter of the matrix --------------------------------------------------------------------- */

const filter = document.getElementById("filter");
const lines = [...document.querySelectorAll(".matrix tbody tr")].map((row) => {
  const link = row.querySelector("th a"), name = link.textContent;
  return { row, link, articles: document.querySelectorAll(`[data-of="${name}"]`),
    text: `${row.textContent} ${link.title}`.toLowerCase(), functions: (through[name] ?? []).map((n) => texts[n]) };
});
filter.closest(".tools").hidden = false;
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/[\s,()]+/).filter(Boolean);
  for (const { row, articles, text, functions } of lines) {
    row.hidden = !words.every((w) => text.includes(w) || (w.includes("_") && functions.some((f) => f.includes(w))));
    for (const article of articles) article.classList.toggle("out", row.hidden);
  }
  document.body.classList.toggle("chosen", words.length > 0);
  document.getElementById("left").textContent = `${lines.filter((l) => !l.row.hidden).length} of ${lines.length}`;
});
filter.addEventListener("keydown", (event) => {
  const first = lines.find((l) => !l.row.hidden);
  if (event.key === "Enter" && first) location.hash = first.link.hash;
});

/* After the browser has gone to the target, which takes the focus away. */
addEventListener("load", () => setTimeout(follow));
