/* The gradebook: a table of rationales, its filters, and the drawer. */
(() => {
  const grid = document.getElementById("grid");
  if (!grid) return;
  const { data, make, percent, block, pack, drawer, state } = page;
  const { students, problems } = data;
  const GREEDY = -1;
  const DEFAULTS = { tp: "", tr: "", exam: "", pin: "", flip: "", q: "", show: "all", level: "", subject: "", by: "all", sort: "order" };
  const controls = document.getElementById("controls");
  const numbers = new Map(problems.map((problem, number) => [problem.id, number]));
  const swatch = (name) => make("span", { class: `swatch dot${(data.colours[name].match(/\d+/) || [""])[0]}`, "aria-hidden": "true" });

  /* A cell is [repeat, answer, correct, score, by student, chosen by, ended]. */
  const named = (repeat) => (repeat === GREEDY ? "greedy" : `${repeat}`);
  const title = (repeat) => (repeat === GREEDY ? "Greedy rationale" : `Rationale ${repeat}`);

  let takesFocus = false;
  function go(changes, { replace = false, focus = false } = {}) {
    takesFocus = focus;
    page.go(changes, { replace });
  }

  // --- the table ------------------------------------------------------------------------------------------
  const repeats = [...new Set(problems.flatMap((problem) => problem.cells.map((cell) => cell[0])))].sort((a, b) => a - b);
  const KEEP = {
    all: () => true,
    differ: (problem) => problem.differ,
    missed: (problem) => problem.right.sum === false && problem.cells.some((cell) => cell[2]),
    tied: (problem) => problem.tied,
  };
  const KINDS = ["level", "subject"]; // texts of problems; a source may give none
  const SORT = {
    order: (a, b) => numbers.get(a.id) - numbers.get(b.id),
    hard: (a, b) => (a.solved ?? 2) - (b.solved ?? 2),
    answers: (a, b) => b.answers - a.answers,
  };

  function describe(problem, cell) {
    const [repeat, answer, correct, score, by, chosen] = cell;
    const parts = [`${title(repeat)} of ${problem.id}: ${answer === null ? "no answer" : answer}`, correct ? "right" : "wrong"];
    if (score !== null) parts.push(`LbT score ${percent(score)}`, ...by.map((share, index) => `${students[index]} ${percent(share)}`));
    if (chosen.length) parts.push(`chosen by ${chosen.join(", ").toUpperCase()}`);
    return parts.join(", ");
  }

  function cellOf(problem, cell, by) {
    const [repeat, , correct, score, shares, chosen] = cell;
    const shown = by === "all" ? score : shares[students.indexOf(by)] ?? null;
    const kinds = ["cell", shown === null ? "none" : `s${Math.round(10 * shown)}`];
    if (correct) kinds.push("right");
    if (chosen.includes("max")) kinds.push("max");
    if (chosen.includes("sc")) kinds.push("sc");
    const said = describe(problem, cell);
    return make("button", { type: "button", class: kinds.join(" "), tabindex: "-1", title: said, "aria-label": said, "data-tp": problem.id, "data-tr": named(repeat) });
  }

  function rowOf(problem, by) {
    const cells = new Map(problem.cells.map((cell) => [cell[0], cell]));
    const id = make("span", { class: "id" }, make("bdi", {}, problem.id));
    const name = make("span", { class: "name", title: `${problem.id}: ${problem.text}` }, id, make("span", {}, `: ${problem.text}`));
    return make("tr", {}, make("th", { scope: "row" }, name), ...repeats.map((repeat) => make("td", {}, cells.has(repeat) ? cellOf(problem, cells.get(repeat), by) : null)));
  }

  const CELLS = 1000; // drawn at once: the others follow, so that a large gradebook opens soon
  const PAUSE_MS = 30; // between two parts, for what the reader does meanwhile
  let drawn = "";
  async function draw(now) {
    const key = JSON.stringify([now.q, now.show, now.level, now.subject, now.by, now.sort]);
    if (key === drawn) return;
    drawn = key;
    const keep = Object.hasOwn(KEEP, now.show) ? KEEP[now.show] : KEEP.all;
    const sort = Object.hasOwn(SORT, now.sort) ? SORT[now.sort] : SORT.order;
    const found = await search(now.q);
    if (key !== drawn) return;
    const kind = (problem) => KINDS.every((name) => !now[name] || problem[name] === now[name]);
    const rows = problems.filter((problem) => keep(problem) && kind(problem) && found(problem)).sort(sort);
    grid.tHead.replaceChildren(make("tr", {}, make("th", { scope: "col" }, "problem"), ...repeats.map((repeat) => make("th", { scope: "col" }, make("span", { class: repeat === GREEDY ? "upright" : null }, named(repeat))))));
    const body = grid.tBodies[0];
    body.replaceChildren();
    const rest = rows.map((problem) => () => rowOf(problem, now.by));
    const some = Math.max(1, Math.ceil(CELLS / repeats.length));
    body.append(...rest.splice(0, some).map((row) => row()));
    const more = () => {
      if (key !== drawn || !rest.length) return;
      body.append(...rest.splice(0, some).map((row) => row()));
      mark(state());
      setTimeout(more, PAUSE_MS);
    };
    setTimeout(more, PAUSE_MS);
    grid.querySelector(".cell")?.setAttribute("tabindex", "0");
    document.getElementById("found").textContent = rows.length === problems.length ? `${rows.length} problems` : `${rows.length} of ${problems.length} problems`;
  }

  /** Whether a problem holds a text: in its row, and in all its texts where these are in the page. */
  async function search(words) {
    const wanted = words.trim().toLowerCase();
    if (!wanted) return () => true;
    const hits = new Set();
    await Promise.all(problems.map(async (problem, number) => {
      const own = [problem.id, problem.text, problem.gold, ...problem.cells.map((cell) => cell[1] ?? "")];
      if (!data.texts.folder) {
        const texts = await pack(number);
        own.push(texts.problem, ...texts.rationales.map((one) => one[2]), ...texts.exams.map((one) => one[6]), ...texts.eps.map((ep) => ep[1]));
      }
      if (own.some((text) => text.toLowerCase().includes(wanted))) hits.add(problem.id);
    }));
    return (problem) => hits.has(problem.id);
  }

  // --- the drawer -----------------------------------------------------------------------------------------
  function located(tp, tr) {
    const number = numbers.get(tp);
    if (number === undefined) return null;
    const { cells } = problems[number]; // tr is a repeat, greedy, or a rule: then the rationale that it chose
    const cell = cells.find((one) => named(one[0]) === tr) ?? cells.find((one) => one[5].includes(tr)) ?? cells[0];
    return cell ? { number, problem: problems[number], cell } : null;
  }

  async function panel(tp, tr, exam, choose) {
    const place = located(tp, tr);
    if (!place) return make("p", { class: "empty" }, `This class has no problem ${tp}.`);
    const { number, problem, cell } = place;
    let texts;
    try { texts = await pack(number); } catch (error) { return make("p", { class: "empty" }, error.message); }
    const [repeat, answer, correct, score, by, chosen, ended] = cell;
    const [, material, text, prompt] = texts.rationales.find((one) => one[0] === repeat);
    const scores = score === null ? "It has no LbT score." : `LbT score ${percent(score)}: ${by.map((share, index) => `${students[index]} ${percent(share)}`).join(", ")}.`;
    const marks = [chosen.length ? `Chosen by ${chosen.join(", ").toUpperCase()}.` : "", ended ? "" : "Cut off at max_tokens."].filter(Boolean).join(" ");
    return make("div", { class: "panel" },
      make("h3", {}, `Problem ${problem.id}`), block(texts.problem, "Problem"), make("p", {}, "Gold answer: ", make("code", { dir: "auto" }, texts.gold)),
      make("h3", {}, title(repeat)),
      make("p", {}, make("span", { class: "verdict" }, correct ? "Right: " : "Wrong: "), make("code", { dir: "auto" }, answer ?? "no answer found"), `. ${scores} ${marks}`),
      block(text, "Rationale"), prompted(texts, prompt), ...exams(texts, material, exam, choose));
  }

  /** A prompt as `show` prints it, by the number of its last turn. Its first turn begins the answer, so it stands last. */
  function prompted(texts, last) {
    if (last === null) return make("p", { class: "note" }, "The prompt was not kept: an earlier version of this program asked, or the agent is a program of yours, which makes its own prompts.");
    const turns = [];
    for (let number = last; number >= 0; number = texts.turns[number][0]) turns.push(texts.turns[number]);
    const [begun, ...rest] = turns.reverse();
    const whole = [...rest, begun].map(([, heading, text]) => `[${heading}]\n${texts.parts[text]}`).join("\n\n");
    return make("details", {}, make("summary", {}, "Exact prompt"), block(whole, "Exact prompt"));
  }

  function exams(texts, material, chosen, choose) {
    const sat = texts.exams.filter((one) => one[0] === material);
    if (!sat.length) return [make("p", { class: "empty" }, "No exam is recorded under this rationale: it has no answer, its exams are not there yet, or it is the greedy one.")];
    const slots = [...new Map(sat.map((one) => [`${one[2]}-${one[3]}`, [one[2], one[3]]])).values()].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const names = [...new Set([...students, ...sat.map((one) => one[1])])].filter((name) => sat.some((one) => one[1] === name));
    const keyOf = (one) => `${one[1]}/${one[2]}/${one[3]}`;
    const found = new Map(sat.map((one) => [keyOf(one), one]));
    const button = (one) => {
      const [sign, said] = one[7] ? ["!", "failed"] : one[4] === null ? ["?", "not graded"] : one[4] ? ["\u2713", "right"] : ["\u2717", "wrong"];
      const label = `${one[1]} on exam problem ${one[2] + 1}, repeat ${one[3]}: ${said}`;
      return make("button", { type: "button", class: said, "aria-label": label, "aria-pressed": String(keyOf(one) === chosen), onclick: () => choose(keyOf(one)) }, sign);
    };
    const table = make("table", { class: "numbers exams" }, make("caption", {}, "Exams under this rationale: click one to read it"),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "student"), ...slots.map(([ep, repeat]) => make("th", { scope: "col" }, `problem ${ep + 1}, repeat ${repeat}`)))),
      make("tbody", {}, ...names.map((name) => make("tr", {}, make("th", { scope: "row" }, data.colours[name] ? swatch(name) : null, name), ...slots.map(([ep, repeat]) => {
        const one = found.get(`${name}/${ep}/${repeat}`);
        return make("td", {}, one ? button(one) : "-");
      })))));
    return [make("h3", {}, "Exams"), make("div", { class: "scroll", role: "region", "aria-label": "Exams", tabindex: "0" }, table), ...read(texts, found.get(chosen))];
  }

  function read(texts, one) {
    if (!one) return [];
    const [, student, ep, repeat, correct, answer, text, failed, prompt] = one;
    const [id, asked, gold, written] = texts.eps[ep];
    return [
      make("h3", { id: "exam-title" }, `${student} on ${id}, repeat ${repeat}`), block(asked, "Exam problem"),
      make("p", {}, written ? `Gold answer (${written}): ` : "Gold answer: ", make("code", { dir: "auto" }, gold)),
      failed ? make("p", { class: "empty" }, `It failed: ${failed}`) : make("p", {}, make("span", { class: "verdict" }, correct ? "Right: " : "Wrong: "), make("code", { dir: "auto" }, answer ?? "no answer found")),
      failed ? null : block(text, "The student's text"), prompted(texts, prompt),
    ].filter(Boolean);
  }

  function cellAt(tp, tr) {
    const place = located(tp, tr);
    return place && grid.querySelector(`.cell[data-tp="${CSS.escape(tp)}"][data-tr="${named(place.cell[0])}"]`);
  }
  /** Mark the cell whose texts are shown. */
  function mark(now) {
    for (const cell of grid.querySelectorAll("[aria-current]")) cell.removeAttribute("aria-current");
    if (now.tp) cellAt(now.tp, now.tr)?.setAttribute("aria-current", "true");
  }

  const SEPARATOR = "\u001f";
  const tool = (label, act) => make("button", { type: "button", onclick: act }, label);
  async function show(now, focus) {
    mark(now);
    const place = now.tp ? located(now.tp, now.tr) : null;
    if (now.flip && !now.tp) { await flipped(now); return; }
    if (!now.tp) { page.close(); return; }
    const [pinTp, pinTr, pinExam] = now.pin.split(SEPARATOR);
    const wanted = [panel(now.tp, now.tr, now.exam, (exam) => go({ exam }))];
    if (now.pin) wanted.unshift(panel(pinTp, pinTr, pinExam, (exam) => go({ pin: [pinTp, pinTr, exam].join(SEPARATOR) })));
    const panels = await Promise.all(wanted);
    if (JSON.stringify(now) !== JSON.stringify(state())) return;
    const pinned = tool(now.pin ? "Unpin" : "Pin this, then choose another", () => go({ pin: now.pin ? "" : [now.tp, now.tr, now.exam].join(SEPARATOR) }));
    const step = (by) => {
      const cells = place.problem.cells;
      const next = cells[(cells.indexOf(place.cell) + by + cells.length) % cells.length];
      go({ tr: named(next[0]), exam: "" });
    };
    const tools = place ? [tool("\u2190 rationale", () => step(-1)), tool("rationale \u2192", () => step(1)), pinned] : [];
    page.open(place ? `${place.problem.id}, ${title(place.cell[0]).toLowerCase()}` : now.tp, tools, panels, { focus, closed: leave });
  }
  /** A held-out problem on which the teachers of level 2 differ. */
  async function flipped(now) {
    const number = data.flips.findIndex((one) => `${one.round}/${one.id}` === now.flip);
    if (number < 0) { page.close(); return; }
    const one = data.flips[number];
    let shown;
    try {
      const texts = await pack(problems.length + number);
      shown = [block(texts.problem, "Problem"), make("p", {}, "Gold answer: ", make("code", { dir: "auto" }, texts.gold)),
        ...one.answers.flatMap((of, index) => [make("h3", {}, of.teacher), make("p", {}, make("span", { class: "verdict" }, of.correct ? "Right: " : "Wrong: "), make("code", { dir: "auto" }, of.answer ?? "no answer found")),
          block(texts.rationales[index][2], of.teacher), prompted(texts, texts.rationales[index][3])].filter(Boolean))];
    } catch (error) { shown = [make("p", { class: "empty" }, error.message)]; }
    if (now.flip !== state().flip) return;
    page.open(`${one.id}, held out`, [], [make("div", { class: "panel" }, ...shown)], { focus: true, closed: leave });
  }

  function leave() {
    const { tp, tr, flip } = state();
    go({ tp: "", tr: "", exam: "", pin: "", flip: "" });
    if (flip) document.querySelector(`a[href="#${CSS.escape(String(new URLSearchParams({ flip })))}"]`)?.focus();
    const cell = cellAt(tp, tr);
    if (cell) focusOn(cell);
  }

  // --- what the reader does -------------------------------------------------------------------------------
  function focusOn(cell) {
    grid.querySelector('.cell[tabindex="0"]')?.setAttribute("tabindex", "-1");
    cell.setAttribute("tabindex", "0");
    cell.focus();
  }
  grid.addEventListener("click", (event) => {
    const cell = event.target.closest(".cell");
    if (cell) { focusOn(cell); go({ tp: cell.dataset.tp, tr: cell.dataset.tr, exam: "", flip: "" }, { focus: true }); }
  });
  grid.addEventListener("keydown", (event) => {
    const cell = event.target.closest(".cell");
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!cell || !move) return;
    event.preventDefault();
    const [down, along] = move;
    const row = cell.closest("tr");
    const column = cell.closest("td").cellIndex + along;
    const other = grid.tBodies[0].rows[row.sectionRowIndex + down]?.cells[column]?.querySelector(".cell");
    if (!other) return;
    focusOn(other);
    if (!drawer.hidden) go({ tp: other.dataset.tp, tr: other.dataset.tr, exam: "" }, { replace: true });
  });
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("input", (event) => go({ [event.target.name]: event.target.value }, { replace: true }));

  async function render(now) {
    const focus = takesFocus;
    takesFocus = false;
    for (const { name, value } of [...controls.elements]) if (name in now && value !== now[name]) controls.elements[name].value = now[name];
    await draw(now);
    await show(now, focus);
  }

  controls.elements.by.append(...students.map((name) => make("option", { value: name }, name)));
  for (const name of KINDS) {
    const values = [...new Set(problems.map((problem) => problem[name]))].filter(Boolean).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    if (!values.length) continue;
    const options = values.map((value) => make("option", { value }, value));
    controls.elements.by.parentElement.before(make("label", {}, name[0].toUpperCase() + name.slice(1), make("select", { name }, make("option", { value: "" }, "all"), ...options)));
  }
  if (data.texts.folder) controls.elements.q.placeholder = "in problems and answers";
  const legend = document.getElementById("legend");
  const sample = (kinds, label) => make("span", {}, make("span", { class: `cell ${kinds}` }), label);
  legend.append(sample("s0", "0 %"), sample("s5", "50 %"), sample("s10", "100 %"), sample("none", "no score"), sample("s0 right", "right"), sample("s0 max", "MAX"), sample("s0 sc", "majority"));
  page.follow(DEFAULTS, render);
})();
