// Somebody who never saw this plays `keywright demo --listen` to its end: makes a passkey with the code that it tells, looks at what the
// agent asks for, and approves it with a touch.
//
//     demo.mjs        KEYWRIGHT (the binary), PEERS
//
// Ends with 0 when the agent sees its key and the log verifies, with 77 where there is no browser.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { Person, launch } from "./browser.mjs";

const browser = await launch();
const demo = spawn(process.env.KEYWRIGHT, ["demo", "--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "pipe"] });
let said = "";
for (const stream of [demo.stdout, demo.stderr]) {
  stream.on("data", (text) => { said += String(text).replace(/\u001b\[[0-9;]*m/g, ""); });
}
const ended = new Promise((done) => demo.on("exit", done));

/** What the demo tells under a name; the last of it where it tells several. */
async function told(name) {
  for (let turn = 0; turn < 600; turn += 1) {
    const all = [...said.matchAll(new RegExp(`^ +${name} +(\\S+)$`, "gm"))];
    if (all.length > 0 && said.includes("where the page wants a passphrase")) return all.at(-1)[1];
    assert.equal(demo.exitCode, null, said);
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`it did not tell its ${name}:\n${said}`);
}

try {
  const person = await Person.arrives(browser);
  await person.enrols({ url: await told("passkey"), code: await told("code") });
  const review = await told("review");
  // Nobody is in yet: the link asks for the passkey at once, and leads back to itself.
  await person.page.goto(review, { waitUntil: "commit" });
  await person.page.waitForURL(review);
  assert.equal(await person.page.locator(".code").textContent(), await told("match code"), "it is this ask");
  await person.page.locator("#approve button").click();
  await person.page.getByText("approved; the key is in force").waitFor();
  assert.deepEqual(person.trouble, []);
  assert.equal(await ended, 0, said);
  assert.match(said, /the agent sees +active/);
  assert.match(said, /approved, with a passkey: operator you; the signature is in ent_\d+/);
  assert.match(said, /audit log: \d+ entries, every one verified/);
  assert.match(said, /Nothing is left behind\./);
  console.log("ok: the demo was played to its end");
} finally {
  demo.kill("SIGTERM");
  await browser.close();
}
