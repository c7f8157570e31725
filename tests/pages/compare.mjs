// A passkey is made with the code that a terminal tells, and the terminal asks whether the browser shows the same fingerprint. Until the
// answer is yes it opens and approves nothing; whoever says no has it thrown away. Where the terminal is closed before that, it is on
// record, listed, and whoever types the code is told.
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

const says = (...rest) => String(execFileSync(words[0], [...words.slice(1), ...rest]));
const passkeys = () => JSON.parse(says("passkey", "list", "--json")).passkeys;
const held = () => JSON.parse(says("passkey", "list", "--json")).held;

/** Somebody in a terminal adds a passkey, makes it in a browser, compares, and answers. */
async function adds(name, answer, stays) {
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
  const word = await says(/\s([0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4})\s/);
  await person.enrols({ url, code: word });
  const shown = await person.page.getByText("Its fingerprint is").textContent();
  const fingerprint = await says(/its fingerprint is ([0-9A-Z]{4}-[0-9A-Z]{4})\s/);
  assert.ok(shown.includes(fingerprint), `${shown} and ${fingerprint}`);
  await says(/(does your browser show the same\?)/);
  assert.ok(!passkeys().some((one) => one.fingerprint === fingerprint), "what is held counts already");
  // It opens nothing yet, so nobody is led to the door with it.
  assert.equal(await person.page.getByRole("link", { name: "Come in with it" }).count(), 0);
  terminal.stdin.write(answer);
  const code = await ended;
  assert.deepEqual(person.trouble, []);
  if (!stays) await person.leaves();
  return { code, said, fingerprint, url, word, person };
}

/** What somebody reads who types a code that was used. */
async function types({ url, word }) {
  const person = await Person.arrives(browser);
  await person.page.goto(url);
  await person.page.getByLabel("code").fill(word);
  await person.page.getByRole("button", { name: "Make the passkey" }).click();
  await person.page.locator("#said.bad").waitFor();
  const said = await person.page.locator("#said").textContent();
  await person.leaves();
  return said;
}

try {
  const mine = await adds("desk", "y\n", true);
  assert.equal(mine.code, 0, mine.said);
  assert.deepEqual(passkeys().map((one) => [one.name, one.fingerprint]), [["desk", mine.fingerprint]]);
  const theirs = await adds("other", "n\n");
  assert.notEqual(theirs.code, 0, theirs.said);
  assert.match(theirs.said, /is thrown away, and approved nothing/);
  assert.notEqual(theirs.fingerprint, mine.fingerprint);
  assert.deepEqual(passkeys().map((one) => one.name), ["desk"]);
  assert.match(await types(mine), /the passkey that was made with it counts.*somebody else can approve as you now/);
  assert.match(await types(theirs), /is there no more: nobody can approve with it/);

  // The terminal is closed in place of an answer.
  const left = await adds("left", "\u0003");
  assert.notEqual(left.code, 0, left.said);
  const [one] = held();
  assert.deepEqual([one.name, one.fingerprint], ["left", left.fingerprint]);
  const listed = says("passkey", "list");
  assert.ok(listed.includes("desk") && listed.includes(`held: left was made with a code of ${one.operator}`), listed);
  assert.ok(listed.includes(`keywright passkey remove ${one.id}`), listed);
  assert.ok(says("audit", "export").split("\n").some((line) => line.includes("passkey.hold") && line.includes(one.id)));
  const said = await types(left);
  assert.match(said, /held: nobody can approve with it yet/);
  assert.ok(!said.includes("can approve as you now"), said);
  const keeper = mine.person;
  const { page } = keeper;
  await keeper.comesIn(new URL(left.url).origin);
  // The page of passkeys has it as well, and throws it away by a touch.
  await page.goto(`${new URL(left.url).origin}/passkeys`);
  await page.getByText(/^Held: left was made with a code of /).waitFor();
  await page.getByRole("button", { name: "Throw left away" }).click();
  await page.getByText(/^Held: left/).waitFor({ state: "detached" });
  await keeper.leaves();
  assert.deepEqual(held(), []);
  assert.deepEqual(passkeys().map((known) => known.name), ["desk"]);
  console.log("ok: what was made is compared");
} finally {
  await browser.close();
}
