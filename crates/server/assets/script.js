"use strict";
// What the pages need a script for: passkeys, keys on the keyboard, the reader's own time. Nothing here decides anything.

// A moment in the reader's own time, with its zone.
const zoned = (at) =>
  at.toLocaleString([], { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short" });

// Says it where the button is that was pressed; what went wrong has the focus, so that nobody overlooks it.
function tell(text, kind, beside, link) {
  const said = document.getElementById("said");
  if (!said) return;
  if (beside) beside.append(said);
  said.textContent = text.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, (moment) => zoned(new Date(moment)));
  if (link) said.append(" ", link);
  said.hidden = false;
  said.className = kind;
  said.tabIndex = -1;
  if (kind === "bad") said.focus({ preventScroll: true });
  said.scrollIntoView({ block: "nearest" });
}

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), redirect: "error",
  });
  const value = await answer.json().catch(() => ({}));
  if (answer.ok) return value;
  const error = new Error([value.message || "the broker refused that", value.hint].filter(Boolean).join(". "));
  error.door = answer.headers.get("keywright-door");
  error.isOutdated = answer.headers.has("keywright-outdated");
  throw error;
}

// To the door in another tab, so that what was typed here stays.
function door(path) {
  const link = document.createElement("a");
  link.href = path;
  link.target = "_blank";
  link.textContent = "Come in again in another tab, then press the button once more.";
  return link;
}

function anew() {
  const link = document.createElement("a");
  link.href = location.pathname;
  link.textContent = "Load this page anew";
  return link;
}

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

async function touch(offered) {
  const options = offered.options.publicKey;
  options.challenge = bytes(options.challenge);
  for (const one of options.allowCredentials || []) one.id = bytes(one.id);
  const made = await navigator.credentials.get({ publicKey: options });
  return {
    id: offered.id,
    assertion: {
      credential: made.id,
      authenticatorData: text(made.response.authenticatorData),
      clientData: text(made.response.clientDataJSON),
      signature: text(made.response.signature),
    },
  };
}

async function make(word) {
  const options = (await post("/passkeys/begin", { word })).options.publicKey;
  options.challenge = bytes(options.challenge);
  options.user.id = bytes(options.user.id);
  for (const one of options.excludeCredentials || []) one.id = bytes(one.id);
  const made = await navigator.credentials.create({ publicKey: options });
  return post("/passkeys/add", {
    word,
    credential: {
      id: made.id, rawId: text(made.rawId), type: made.type, extensions: {},
      response: {
        attestationObject: text(made.response.attestationObject),
        clientDataJSON: text(made.response.clientDataJSON),
      },
    },
  });
}

function why(error) {
  if (error.name === "NotAllowedError") return "The passkey was not touched. Nothing was done.";
  if (error.name === "InvalidStateError") return "This authenticator has a passkey for you here already.";
  return error.message;
}

// Runs what a form is for, once at a time.
function on(form, deed) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = event.submitter ?? form.querySelector("button");
    if (button.disabled) return;
    button.disabled = true;
    tell("Touch your passkey …", "", form);
    try {
      await deed(button);
    } catch (error) {
      // What a request's page shows is over: nothing is left to press there.
      if (error.isOutdated && document.querySelector(".verdict")) {
        for (const one of form.querySelectorAll("button, .soon")) one.remove();
        return tell(why(error) + ".", "bad", form, anew());
      }
      tell(why(error), "bad", form, error.door ? door(error.door + "?to=" + encodeURIComponent(location.pathname + location.search)) : null);
      button.disabled = false;
    }
  });
}

function act(form, button) {
  const { field, of, shown, ttl, without } = form.dataset;
  const chosen = [...form.querySelectorAll("input[type=checkbox]:checked")];
  const act = button.dataset.act ?? form.dataset.act;
  const body = { act };
  if (field) body[field] = of;
  for (const input of form.querySelectorAll("input[name]")) body[input.name] = input.value;
  if (act === "approve") {
    body.digest = shown;
    body.less = { ttl: ttl || null, without: (without || "").split(" ").filter(Boolean) };
  }
  if (act === "approve_together") {
    body.requests = chosen.map((one) => [one.dataset.of, one.dataset.shown]);
  }
  if (act === "grant") {
    const likes = new FormData(form);
    body.digest = shown;
    body.days = Number(likes.get("days"));
    body.any_name = likes.get("names") === "any";
    body.uses = likes.get("uses") ? Number(likes.get("uses")) : null;
  }
  if (act === "apply") {
    body.source = shown;
    body.version = Number(form.dataset.version);
  }
  return body;
}

// Nobody approves what they have not seen: the button works once the page was in view for a second.
// Of several at once the last of their list has to be, for a second each; of a grant what it says.
function seen(button, last, seconds) {
  let left = 1000 * seconds;
  let since = null;
  let isIn = !last;
  const soon = document.createElement("small");
  soon.className = "soon";
  button.after(soon);
  if (last) new IntersectionObserver(([entry]) => { isIn = entry.isIntersecting; }).observe(last);
  const look = () => {
    const now = performance.now();
    if (since !== null) left -= now - since;
    since = isIn && document.visibilityState === "visible" ? now : null;
    soon.textContent = left <= 0 ? "" : since === null ? `when you have seen ${last?.localName === "tr" ? "the last row" : "all of it"}` : `in ${Math.ceil(left / 1000)} s`;
    if (left > 0) return void setTimeout(look, 100);
    button.disabled = Boolean(button.dataset.other);
    // Somebody wanted to go there before.
    if (button.dataset.wanted) button.focus();
  };
  look();
}

for (const form of document.querySelectorAll("form.deed")) {
  on(form, async (button) => {
    const done = await post("/touch", await touch(await post("/touch/offer", act(form, button))));
    if (done.code) tell(`Open ${done.at} in the other browser within five minutes, and type: ${done.code}`, "good", form);
    else if (done.to === location.pathname + location.search) location.reload();
    else location.assign(done.to);
  });
  for (const button of form.querySelectorAll("button")) {
    if (form.id === "approve") seen(button, null, 1);
    else if (form.id === "together") {
      const { rows } = form.previousElementSibling.querySelector("tbody");
      seen(button, rows[rows.length - 1], rows.length);
    } else if (form.id === "grant") seen(button, form, 1);
    else button.disabled = false;
  }
}

// What is approved is what is shown: where something less is chosen, it has to be shown first.
const less = document.querySelector("details.less form");
if (less) {
  less.reset();
  const chosen = () => new URLSearchParams(new FormData(less)).toString();
  const [shown, show] = [chosen(), less.querySelector("button")];
  // Also of several at once, this one among them.
  const approvals = [...document.querySelectorAll("#approve button, #together button")].map((button) => {
    const first = document.createElement("small");
    first.className = "first";
    button.after(first);
    return [button, first];
  });
  less.addEventListener("change", () => {
    const isOther = chosen() !== shown;
    for (const [button, first] of approvals) {
      button.dataset.other = isOther ? "1" : "";
      button.disabled = isOther || Boolean(button.form.querySelector(".soon")?.textContent);
      first.textContent = isOther ? "under “Approve with less” you chose something else: show that first" : "";
    }
    show.className = isOther ? "good" : "quiet";
  });
}

// Of several at once each can be left out, down to two of them.
const together = document.getElementById("together");
together?.addEventListener("change", () => {
  const boxes = [...together.querySelectorAll("input")];
  const chosen = boxes.filter((one) => one.checked).length;
  for (const one of boxes) one.disabled = one.checked && chosen <= 2;
  together.querySelector("button span").textContent = chosen;
});
together?.dispatchEvent(new Event("change"));

const enter = document.getElementById("enter");
if (enter) {
  on(enter, async () => {
    await post("/door/touch", await touch(await post("/door/offer", {})));
    // The door is no place to come back to.
    location.replace(enter.dataset.to);
  });
  for (const one of document.querySelectorAll("body.door [hidden].scripted")) one.hidden = false;
  enter.querySelector("button").disabled = false;
  // Whoever follows a link to a review is asked at once, where they look; whoever comes back, or loads the door anew, is not.
  const { type } = performance.getEntriesByType("navigation")[0] ?? {};
  const ask = async () => {
    if (document.visibilityState !== "visible" || !document.hasFocus()) return;
    for (const one of ["visibilitychange", "focus"]) removeEventListener(one, ask, true);
    // A link from elsewhere comes without the session that there may be, and what is asked for from here comes with it.
    const there = await fetch(enter.dataset.to, { method: "HEAD", redirect: "manual" }).catch(() => null);
    if (there?.ok) location.replace(enter.dataset.to);
    else enter.requestSubmit();
  };
  if ("once" in enter.dataset && type === "navigate") {
    for (const one of ["visibilitychange", "focus"]) addEventListener(one, ask, true);
    ask();
  }
}

const enrol = document.getElementById("enrol");
if (enrol) {
  on(enrol, async () => {
    const { passkey, held } = await make(enrol.querySelector("input").value);
    for (const one of document.querySelectorAll(".before")) one.remove();
    // What is held opens nothing yet.
    let link = null;
    if (!held) {
      link = document.createElement("a");
      link.href = "/door";
      link.textContent = "Come in with it";
    }
    const is = `Its fingerprint is ${passkey.fingerprint}`;
    tell(held
      ? `The passkey is made. ${is}. Your terminal asks whether that is the same: answer there, and it counts from then on.`
      : `The passkey is enrolled. ${is}: where you had the code made stands the same.`, "good", document.getElementById("main"), link);
    enrol.remove();
    link?.focus();
  });
  enrol.querySelector("button").disabled = false;
}

// The reader's own time, also of what is only said to be near, and UTC where the pointer rests.
function local(within) {
  for (const one of within.querySelectorAll("time[datetime]")) {
    const at = new Date(one.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const here = zoned(at);
    if (one.textContent.endsWith(" UTC")) one.textContent = here;
    one.title = `${here} (${one.dateTime})`;
  }
}
local(document);

// The inbox looks again by itself; a look of its own keeps no session alive.
const fresh = document.querySelector("main[data-fresh]");
async function again() {
  if (document.visibilityState !== "visible" || document.querySelector("dialog[open]")) return;
  const answer = await fetch(location.href, { headers: { "keywright-by-itself": "1" } }).catch(() => null);
  if (!answer) return;
  if (answer.redirected) return location.assign(answer.url);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [main, nav] = ["main[data-fresh]", "header nav"].map((one) => page.querySelector(one));
  if (!main || !nav) return;
  const focused = document.activeElement?.getAttribute("href");
  local(main);
  fresh.replaceChildren(...main.childNodes);
  document.querySelector("header nav").replaceWith(nav);
  document.title = page.title;
  if (focused) document.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
}
if (fresh) {
  setInterval(again, 15_000);
  document.addEventListener("visibilitychange", again);
}

// Those of the lists; a page of one thing leads to the one before and after it instead.
let chosen = -1;
function go(step) {
  const one = document.querySelector(step > 0 ? "a[rel=next]" : "a[rel=prev]");
  if (one) return one.click();
  if (document.querySelector(".step")) return;
  const rows = [...document.querySelectorAll("tbody tr")];
  chosen = Math.min(Math.max(chosen + step, 0), rows.length - 1);
  rows.forEach((row, at) => row.classList.toggle("chosen", at === chosen));
  rows[chosen]?.querySelector("a")?.focus();
}
function toApprove() {
  const button = document.querySelector("#approve button");
  if (button?.disabled) button.dataset.wanted = "1";
  else button?.focus();
}
const keys = document.getElementById("keys");
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "j") go(1);
  else if (event.key === "k") go(-1);
  else if (event.key === "a") toApprove();
  else if (event.key === "r") document.querySelector("#reject input")?.focus();
  else if (event.key === "?") keys?.showModal();
  else return;
  event.preventDefault();
});
const help = document.getElementById("help");
if (help) {
  help.hidden = false;
  help.addEventListener("click", () => keys?.showModal());
}
