// A passkey is made with the code that a terminal tells, and the terminal asks whether the browser shows the same fingerprint. Until the
// answer is yes it opens and approves nothing; whoever says no has it thrown away.
//
//     compare.mjs        KEYWRIGHT (the binary), KEYWRIGHT_HOME, PASS (a file with the passphrase), PEERS
//
// Ends with 0 when all holds, with 77 where there is no browser, or no terminal to play.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { Person, launch } from "./browser.mjs";

const words = [process.env.KEYWRIGHT, "--passphrase-file", process.env.PASS];
try {
  execFileSync("script", ["--version"]);
} catch {
  console.error("there is no `script` with which a terminal is played");
  process.exit(77);
}
const browser = await launch();

function passkeys() {
  return JSON.parse(execFileSync(words[0], [...words.slice(1), "passkey", "list", "--json"])).passkeys;
}

/** Somebody in a terminal adds a passkey, makes it in a browser, compares, and answers. */
async function adds(name, answer) {
  const command = [...words, "passkey", "add", "--name", name].map((word) => `'${word}'`).join(" ");
  const terminal = spawn("script", ["-qefc", command, "/dev/null"], { stdio: ["pipe", "pipe", "inherit"] });
  let said = "";
  terminal.stdout.on("data", (text) => { said += String(text).replace(/\u001b\[[0-9;]*m/g, ""); });
  const ended = new Promise((done) => terminal.on("exit", done));
  const says = async (pattern) => {
    for (let turn = 0; turn < 600; turn += 1) {
      const found = said.match(pattern);
      if (found) return found[1];
      assert.equal(terminal.exitCode, null, said);
      await new Promise((done) => setTimeout(done, 100));
    }
    throw new Error(`it did not say ${pattern}:\n${said}`);
  };
  const person = await Person.arrives(browser);
  const url = await says(/(http:\/\/localhost:\d+\/enrol)/);
  await person.enrols({ url, code: await says(/\s([0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4})\s/) });
  const shown = await person.page.getByText("Its fingerprint is").textContent();
  const fingerprint = await says(/its fingerprint is ([0-9A-Z]{4}-[0-9A-Z]{4})\s/);
  assert.ok(shown.includes(fingerprint), `${shown} and ${fingerprint}`);
  await says(/(does your browser show the same\?)/);
  assert.ok(!passkeys().some((one) => one.fingerprint === fingerprint), "what is held counts already");
  terminal.stdin.write(`${answer}\n`);
  const code = await ended;
  assert.deepEqual(person.trouble, []);
  await person.leaves();
  return { code, said, fingerprint };
}

try {
  const mine = await adds("desk", "y");
  assert.equal(mine.code, 0, mine.said);
  assert.deepEqual(passkeys().map((one) => [one.name, one.fingerprint]), [["desk", mine.fingerprint]]);
  const theirs = await adds("other", "n");
  assert.notEqual(theirs.code, 0, theirs.said);
  assert.match(theirs.said, /is thrown away, and approved nothing/);
  assert.notEqual(theirs.fingerprint, mine.fingerprint);
  assert.deepEqual(passkeys().map((one) => one.name), ["desk"]);
  console.log("ok: what was made is compared");
} finally {
  await browser.close();
}
