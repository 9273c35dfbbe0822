/* Two classes of a study: their common problems, and the pages of both at one of these, each in a frame. */
(() => {
  const pairs = document.getElementById("pairs");
  if (!pairs) return;
  const { data, make } = page;
  const choice = document.getElementById("choice");
  const classes = new Map(data.classes.map((one) => [one.cell, one]));
  const places = new Map(data.classes.map((one) => [one, new Map(one.problems.map((number, place) => [number, place]))]));
  const mates = (one) => data.classes.filter((other) => other !== one && other.problems.some((number) => places.get(one).has(number)));
  const [first] = Object.keys(data.methods);
  const DEFAULTS = { left: "", right: "", by: first, which: "differ", tp: "" };

  function chosen(now) {
    const left = classes.get(now.left) ?? data.classes[0];
    const others = mates(left);
    const right = others.find((one) => one.cell === now.right) ?? others[0];
    return { left, right, others, by: data.methods[now.by] ? now.by : first, which: now.which === "all" ? "all" : "differ" };
  }
  const isRight = (one, number, by) => one.right[by][places.get(one).get(number)] === 1;
  const sign = (right) => make("td", {}, right ? "\u2713 right" : "\u2717 wrong");

  function list({ left, right, by, which }) {
    const common = left.problems.filter((number) => places.get(right).has(number));
    const differ = common.filter((number) => isRight(left, number, by) !== isRight(right, number, by));
    const shown = which === "all" ? common : differ;
    const head = ["problem", left.name, right.name].map((name, column) => make("th", { scope: "col", class: column ? null : "word" }, name));
    pairs.tHead.replaceChildren(make("tr", {}, ...head));
    pairs.tBodies[0].replaceChildren(...shown.map((number) => {
      const [id, text] = data.problems[number];
      const link = make("a", { href: `#${new URLSearchParams({ left: left.cell, right: right.cell, by, which, tp: id })}`, title: text }, `${id}: ${text}`);
      return make("tr", {}, make("th", { scope: "row", class: "name" }, link), sign(isRight(left, number, by)), sign(isRight(right, number, by)));
    }));
    document.getElementById("common").textContent = `On ${differ.length} of ${common.length} common problems one of them is right.`;
  }

  let open = "";
  function show({ left, right, by }, { tp }) {
    const number = data.problems.findIndex(([id], at) => id === tp && places.get(left).has(at) && places.get(right).has(at));
    const key = number < 0 ? "" : [left.cell, right.cell, by, tp].join("\n");
    if (key === open) return;
    open = key;
    if (!key) { page.close(); return; }
    const hash = new URLSearchParams({ tp, tr: by.replace("m1_", "") });
    const panels = [left, right].map((one) => make("div", { class: "panel" },
      make("h3", {}, make("a", { href: `${one.page}#${hash}` }, one.name)), make("iframe", { src: `${one.page}#${hash}`, title: one.name })));
    page.open(tp, [], panels, { focus: true, closed: () => {
      page.go({ tp: "" });
      pairs.querySelector(`a[href$="tp=${CSS.escape(encodeURIComponent(tp))}"]`)?.focus();
    } });
  }

  choice.addEventListener("submit", (event) => event.preventDefault());
  choice.addEventListener("input", (event) => page.go({ [event.target.name]: event.target.value }, { replace: true }));
  page.follow(DEFAULTS, (now) => {
    const two = chosen(now);
    for (const option of choice.elements.right.options) option.disabled = !two.others.includes(classes.get(option.value));
    for (const [name, value] of Object.entries({ left: two.left.cell, right: two.right.cell, by: two.by, which: two.which })) choice.elements[name].value = value;
    list(two);
    show(two, now);
  });
})();
