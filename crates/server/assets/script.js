"use strict";
// What the pages need a script for: passkeys, and keys on the keyboard. Nothing here decides anything.
const said = document.getElementById("said");

function tell(text, isBad) {
  if (!said) return;
  said.textContent = text;
  said.hidden = false;
  said.className = isBad ? "bad" : "";
}

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), redirect: "error",
  });
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error([value.message || "the broker refused that", value.hint].filter(Boolean).join(". "));
  return value;
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
  await post("/passkeys/add", {
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
    tell("Touch your passkey …", false);
    try {
      await deed(button);
    } catch (error) {
      tell(why(error), true);
      button.disabled = false;
    }
  });
}

function act(form, button) {
  const { field, of, shown, ttl, without } = form.dataset;
  const act = button.dataset.act ?? form.dataset.act;
  const body = { act };
  if (field) body[field] = of;
  for (const input of form.querySelectorAll("input")) body[input.name] = input.value;
  if (act === "approve") {
    body.digest = shown;
    body.less = { ttl: ttl || null, without: (without || "").split(" ").filter(Boolean) };
  }
  if (act === "approve_together") {
    const digests = shown.split(" ");
    body.requests = of.split(" ").map((id, at) => [id, digests[at]]);
  }
  if (act === "grant") {
    const chosen = new FormData(form);
    body.digest = shown;
    body.days = Number(chosen.get("days"));
    body.any_name = chosen.get("names") === "any";
    body.uses = chosen.get("uses") ? Number(chosen.get("uses")) : null;
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
  if (last) new IntersectionObserver(([entry]) => { isIn = entry.isIntersecting; }).observe(last);
  const look = () => {
    const now = performance.now();
    if (since !== null) left -= now - since;
    since = isIn && document.visibilityState === "visible" ? now : null;
    if (left <= 0) button.disabled = false;
    else setTimeout(look, 100);
  };
  look();
}

for (const form of document.querySelectorAll("form.deed")) {
  on(form, async (button) => {
    const done = await post("/touch", await touch(await post("/touch/offer", act(form, button))));
    if (done.code) tell(`Open ${done.at} in the other browser within five minutes, and type: ${done.code}`, false);
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

const enter = document.getElementById("enter");
if (enter) {
  on(enter, async () => {
    await post("/door/touch", await touch(await post("/door/offer", {})));
    location.assign(enter.dataset.to);
  });
  enter.querySelector("button").disabled = false;
}

const enrol = document.getElementById("enrol");
if (enrol) {
  on(enrol, async () => {
    await make(enrol.querySelector("input").value);
    enrol.remove();
    tell("The passkey is enrolled.", false);
  });
  enrol.querySelector("button").disabled = false;
}

const rows = [...document.querySelectorAll("tbody tr")];
let chosen = -1;
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const go = (step) => {
    chosen = Math.min(Math.max(chosen + step, 0), rows.length - 1);
    rows.forEach((row, at) => row.classList.toggle("chosen", at === chosen));
    rows[chosen]?.querySelector("a")?.focus();
  };
  if (event.key === "j") go(1);
  else if (event.key === "k") go(-1);
  else if (event.key === "a") document.querySelector("#approve button")?.focus();
  else if (event.key === "r") document.querySelector("#reject input")?.focus();
  else if (event.key === "?") document.querySelector("footer").scrollIntoView();
  else return;
  event.preventDefault();
});
