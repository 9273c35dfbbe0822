"use strict";
/* What pages share: the data, making elements, packed texts, the drawer. Texts become text nodes, never markup. */
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
  document.getElementById("drawer-close").addEventListener("click", () => onclose());
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !drawer.hidden) onclose(); });

  return { data, make, percent, block, pack, open, close, drawer };
})();
