"use strict";
/* What pages share: data, elements, the state in the address, packed texts, the drawer. Texts become text nodes, never markup. */
const page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);

  /** An element with attributes and children; a child that is no element becomes a text node. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "onclick") element.addEventListener("click", value);
      else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  /* The state of the page is in its address, after #: what is not there has its default. */
  const defaults = {};
  const renders = [];
  let last = defaults;
  function state() {
    if (location.hash.length > 1 && !location.hash.includes("=")) return { ...defaults, ...last }; // a link to a section of the page
    const found = { ...defaults };
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) if (Object.hasOwn(defaults, name)) found[name] = value;
    last = found;
    return found;
  }
  function go(changes, { replace = false } = {}) {
    const next = Object.entries({ ...state(), ...changes }).filter(([name, value]) => value !== defaults[name]);
    const hash = `#${new URLSearchParams(next)}`;
    if (hash === location.hash || (hash === "#" && !location.hash)) render();
    else if (replace) location.replace(hash);
    else location.hash = hash;
  }
  const render = () => { for (const one of renders) one(state()); };
  /** Call `show` with the state, now and whenever it changes; `names` are those that it adds, with their defaults. */
  function follow(names, show) {
    Object.assign(defaults, names);
    renders.push(show);
    show(state());
  }
  window.addEventListener("hashchange", render);

  /* Which view each switch shows, and which tables of charts are open. */
  const switches = new Map([...document.querySelectorAll(".switch fieldset")].map((one) => [one.elements[0].name, one]));
  const tables = new Map();
  for (const one of document.querySelectorAll("details[data-table]")) {
    const name = one.dataset.table.toLowerCase().replace(/[^a-z0-9]+/g, "-");
    tables.set(tables.has(name) ? `${name}-${tables.size}` : name, one);
  }
  for (const [name, fieldset] of switches) fieldset.addEventListener("change", (event) => go({ [name]: event.target.value }, { replace: true }));
  for (const details of tables.values()) {
    details.addEventListener("toggle", () => {
      const open = [...tables].filter(([, one]) => one.open).map(([name]) => name).join(".");
      if (open !== state().tables) go({ tables: open }, { replace: true });
    });
  }
  follow({ tables: "", ...Object.fromEntries([...switches.keys()].map((name) => [name, "1"])) }, (now) => {
    for (const [name, { elements }] of switches) ([...elements].find((one) => one.value === now[name]) ?? elements[0]).checked = true;
    const open = now.tables.split(".");
    for (const [name, one] of tables) one.open = open.includes(name);
  });
  const linked = state();
  if (!location.hash.includes("tp=")) ([...switches].find(([name]) => linked[name] !== "1")?.[1] ?? [...tables.values()].find((one) => one.open))?.scrollIntoView();

  const percent = (share) => (share === null ? "-" : `${(100 * share).toFixed(1)}\u202f%`);

  const LONG = 20000;
  /** A text as it is, in a block; a very long one unfolds on click. */
  function block(text, label) {
    const shown = make("pre", { dir: "auto", tabindex: "0", "aria-label": label }, text.slice(0, LONG));
    if (text.length <= LONG) return shown;
    const more = make("button", { type: "button" }, `Show all ${text.length.toLocaleString("en")} characters`);
    more.addEventListener("click", () => { shown.textContent = text; more.remove(); });
    return make("div", {}, shown, more);
  }

  /* Packs of texts: in the page, or each a script in the folder beside it that calls reportTexts. */
  const packs = new Map();
  const awaited = new Map();
  window.reportTexts = (number, packed) => { awaited.get(number)?.(packed); awaited.delete(number); };

  async function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function load(number) {
    return new Promise((resolve, reject) => {
      awaited.set(number, resolve);
      const file = `${data.texts.folder}/${number}.js`;
      const script = make("script", { src: file });
      script.addEventListener("error", () => { packs.delete(number); reject(new Error(`${file} is missing: the folder ${data.texts.folder} belongs beside this page.`)); });
      document.head.append(script);
    });
  }

  /** The texts of a problem, by its number. */
  function pack(number) {
    if (!packs.has(number)) packs.set(number, data.texts.folder ? load(number).then(unpack) : unpack(data.texts.inline[number]));
    return packs.get(number);
  }

  /* The drawer. */
  const drawer = document.getElementById("drawer");
  const title = document.getElementById("drawer-title");
  let onclose = () => {};
  function open(heading, tools, panels, { focus, closed }) {
    title.textContent = heading;
    drawer.querySelector(".drawer-tools").replaceChildren(...tools);
    drawer.querySelector(".panels").replaceChildren(...panels);
    drawer.classList.toggle("two", panels.length > 1);
    onclose = closed;
    const was = drawer.hidden;
    drawer.hidden = false;
    if (was) drawer.scrollTop = 0;
    if (focus) title.focus({ preventScroll: true });
  }
  const close = () => { drawer.hidden = true; };
  const closer = document.getElementById("drawer-close");
  if (window.parent !== window) closer.firstChild.data = "Close in this class "; // beside another one
  closer.addEventListener("click", () => onclose());
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !drawer.hidden) onclose(); });

  return { data, make, percent, block, pack, open, close, drawer, state, go, follow };
})();
