// What a provider answers is shown, and does nothing: no script of it runs, nothing of it steers, and the pages stay small.
//
//     hostile.mjs     KEYWRIGHT (the binary), KEYWRIGHT_HOME, ORIGIN, PASS (a file with the passphrase), ASKED (a request that waits),
//                     PEERS
//
// Ends with 77 where there is no browser.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { Person, launch } from "./browser.mjs";

const { KEYWRIGHT, ORIGIN, PASS, ASKED } = process.env;
const keywright = (...words) =>
  JSON.parse(execFileSync(KEYWRIGHT, [...words, "--json", "--no-input", "--passphrase-file", PASS]));

const browser = await launch();
const alice = await Person.arrives(browser);
const { page } = alice;
await alice.enrols(keywright("passkey", "add", "--name", "laptop"));
await alice.comesIn(ORIGIN);
await page.goto(`${ORIGIN}/r/${ASKED}`);
await page.getByRole("button", { name: "Approve", exact: true }).click();
await page.waitForURL(/done=/);

const [failed] = keywright("key", "list", "--state", "failed").keys;
const entries = keywright("audit", "log", "--limit", "50").entries.filter((one) => JSON.stringify(one).includes("hacked"));
assert.ok(entries.length > 0, "it is on record");
const paths = [`/?done=${ASKED}`, `/r/${ASKED}`, "/keys", `/keys/${failed.id}`, "/agents/builder", "/audit", "/audit?went=badly", "/health",
  ...entries.slice(0, 3).map((one) => `/audit/${one.id}`)];
let seen = 0;
for (const path of paths) {
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 800 });
    await page.goto(ORIGIN + path, { waitUntil: "networkidle" });
    assert.equal(await page.evaluate(() => window.hacked), undefined, path);
    assert.equal(await page.locator("main img, main iframe, main script, h1:has-text('approved by Keywright')").count(), 0, path);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${path} is wider than ${width}`);
    const html = await page.content();
    assert.ok(!/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/.test(html), `${path} steers`);
    assert.ok(html.length < 60_000, `${path}: ${html.length}`);
    if ((await page.textContent("main")).includes("<script>window.hacked")) seen += 1;
  }
}
assert.ok(seen >= 6, `it is shown as what it is, on ${seen} pages`);
assert.deepEqual(alice.trouble, []);
await browser.close();
