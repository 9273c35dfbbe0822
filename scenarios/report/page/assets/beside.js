/* Two classes of a study: their common problems, and the pages of both at one of these, each in a frame. */
(() => {
  const pairs = document.getElementById("pairs");
  if (!pairs) return;
  const { data, make } = page;
  const choice = document.getElementById("choice");
  const classes = new Map(data.classes.map((one) => [one.cell, one]));
  const places = new Map(data.classes.map((one) => [one, new Map(one.problems.map((number, place) => [number, place]))]));
  const mates = (one) => data.classes.filter((other) => other !== one && other.problems.some((number) => places.get(one).has(number)));
  const [best] = Object.keys(data.methods);
  const DEFAULTS = { first: "", second: "", by: best, which: "differ", tp: "" };

  function chosen(now) {
    const first = classes.get(now.first) ?? data.classes[0];
    const others = mates(first);
    const second = others.find((one) => one.cell === now.second) ?? others[0];
    return { first, second, others, by: data.methods[now.by] ? now.by : best, which: now.which === "all" ? "all" : "differ" };
  }
  const isRight = (one, number, by) => one.right[by][places.get(one).get(number)] === 1;
  const sign = (right) => make("td", {}, right ? "\u2713 right" : "\u2717 wrong");

  let drawn = "";
  function list({ first, second, by, which }) {
    const key = [first.cell, second.cell, by, which].join("\n");
    if (key === drawn) return;
    drawn = key;
    const common = first.problems.filter((number) => places.get(second).has(number));
    const differ = common.filter((number) => isRight(first, number, by) !== isRight(second, number, by));
    const shown = which === "all" ? common : differ;
    pairs.tBodies[0].replaceChildren(...shown.map((number) => {
      const [id, text] = data.problems[number];
      const link = make("a", { href: `#${new URLSearchParams({ first: first.cell, second: second.cell, by, which, tp: id })}`, title: text, "data-tp": id }, `${id}: ${text}`);
      return make("tr", {}, make("th", { scope: "row", class: "name" }, link), sign(isRight(first, number, by)), sign(isRight(second, number, by)));
    }));
    document.getElementById("common").textContent = `On ${differ.length} of ${common.length} common problems only one of them is right.`;
  }

  let open = "";
  function show({ first, second, by }, { tp }) {
    const number = data.problems.findIndex(([id], at) => id === tp && places.get(first).has(at) && places.get(second).has(at));
    const key = number < 0 ? "" : [first.cell, second.cell, by, tp].join("\n");
    if (key === open) return;
    open = key;
    if (!key) { page.close(); return; }
    const hash = new URLSearchParams({ tp, tr: by.replace("m1_", "") });
    const panels = [first, second].map((one) => make("div", { class: "panel" },
      make("h3", {}, make("a", { href: `${one.page}#${hash}` }, one.name)), make("iframe", { src: `${one.page}#${hash}`, title: one.name })));
    page.open(tp, [], panels, { focus: true, closed: () => {
      page.go({ tp: "" });
      pairs.querySelector(`a[data-tp="${CSS.escape(tp)}"]`)?.focus();
    } });
  }

  choice.addEventListener("submit", (event) => event.preventDefault());
  choice.addEventListener("input", (event) => page.go({ [event.target.name]: event.target.value }, { replace: true }));
  page.follow(DEFAULTS, (now) => {
    const two = chosen(now);
    for (const option of choice.elements.second.options) option.disabled = !two.others.includes(classes.get(option.value));
    for (const [name, value] of Object.entries({ first: two.first.cell, second: two.second.cell, by: two.by, which: two.which })) choice.elements[name].value = value;
    list(two);
    show(two, now);
  });
})();
