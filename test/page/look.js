// What a page must be for everybody. Returns the problems that are found.
() => {
  const problems = [];
  const bad = (what, element) => problems.push(what + ": " + (element ? element.outerHTML.slice(0, 160) : ""));
  const one = (selector) => document.querySelectorAll(selector).length === 1 || bad("not exactly one " + selector);
  ["main", "body > header", "body > footer", "h1"].forEach(one);
  if (!document.documentElement.lang) bad("no language");
  if (document.documentElement.scrollWidth > innerWidth) bad("it is wider than the window by " + (document.documentElement.scrollWidth - innerWidth));
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  ids.filter((id, i) => ids.indexOf(id) !== i).forEach((id) => bad("two elements have the id " + id));
  document.querySelectorAll("section").forEach((e) => document.getElementById(e.getAttribute("aria-labelledby")) || bad("a section without a name", e));
  document.querySelectorAll("nav, progress, svg[role=img], pre").forEach((e) => e.getAttribute("aria-label") || bad("no label", e));
  document.querySelectorAll("input:not([type=hidden])").forEach((e) => e.labels.length || bad("an input without a label", e));
  document.querySelectorAll("img").forEach((e) => (e.hasAttribute("alt") && e.getAttribute("src") === "icon.svg") || bad("an image", e));
  document.querySelectorAll("table").forEach((e) => e.querySelector("thead th[scope=col]") || bad("a table without headings", e));
  document.querySelectorAll("script").forEach((e) => e.getAttribute("src") === "page.js" || bad("a script", e));
  document.querySelectorAll("style, iframe, object, embed, base, [style], link:not([href='page.css']):not([href='icon.svg'])").forEach((e) => bad("what should not be", e));
  document.querySelectorAll("*").forEach((e) => [...e.attributes].forEach((a) => /^on/i.test(a.name) && bad("an event handler", e)));
  document.querySelectorAll("a, form").forEach((e) => {
    const to = new URL(typeof e.href === "string" ? e.href : e.href ? e.href.baseVal : e.action, location.href);
    if (to.origin !== location.origin) bad("it leads elsewhere", e);
  });

  // Contrast, as WCAG 2.2 has it: 4.5 for text.
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const numbers = (text) => text.match(/[\d.]+/g).map(Number);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || ["SCRIPT", "NOSCRIPT", "PROGRESS"].includes(e.nodeName) || e.closest("svg")) continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) bad("contrast " + ((a + 0.05) / (b + 0.05)).toFixed(2), e);
  }
  return [...new Set(problems)];
}
