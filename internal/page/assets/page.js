// Puts newer sections of the page in place of older ones, as the server sends them. Without this script the page
// works the same, and is loaded anew now and then.
"use strict";
(() => {
  const link = document.getElementById("link");
  const makeHTML = window.trustedTypes
    ? window.trustedTypes.createPolicy("bundlewatch", { createHTML: (text) => text }) // it comes escaped from the server
    : { createHTML: (text) => text };
  let source = null;
  let again = 0;

  // morph makes one element like another and keeps what has not changed: focus, selection, what is unfolded.
  function morph(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
      old.replaceWith(fresh);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const now = [...old.childNodes];
    const next = [...fresh.childNodes];
    next.forEach((node, i) => (i < now.length ? morph(now[i], node) : old.append(node)));
    now.slice(next.length).forEach((node) => node.remove());
  }

  function show(event) {
    const part = JSON.parse(event.data);
    const fresh = new DOMParser().parseFromString(makeHTML.createHTML(part.html), "text/html").body.firstElementChild;
    const old = document.getElementById(part.id);
    if (old && fresh) morph(old, document.adoptNode(fresh));
  }

  function say(word, mood) {
    if (link.textContent !== word) link.textContent = word;
    link.className = "pill mood-" + mood;
  }

  function connect() {
    clearTimeout(again);
    if (source) source.close();
    source = new EventSource("events");
    source.addEventListener("open", () => say("live", "ok"));
    source.addEventListener("part", show);
    source.addEventListener("error", () => {
      say("no connection", "warn");
      if (source.readyState === EventSource.CLOSED) again = setTimeout(connect, 10000); // it was refused
    });
  }

  // Nobody looks at a page in the background, so it takes no place of others.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      connect();
    } else if (source) {
      source.close();
      clearTimeout(again);
      say("asleep", "none");
    }
  });
  if (!document.hidden) connect();
})();
