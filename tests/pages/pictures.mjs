// A day on which nothing bad happens, for the pictures of the pages: each page on a desk and on a phone, as somebody sees it who did not
// build it. It looks also whether each fits.
//
//     pictures.mjs    KEYWRIGHT (the binary), KEYWRIGHT_HOME, ORIGIN, PASS (a file with the passphrase), ASKS (requests that wait, as
//                     JSON: shop, blog, mail, status, newsletter, proposal), PEERS; SHOTS (a directory for the pictures, optional)
//
// Ends with 77 where there is no browser.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { Person, launch } from "./browser.mjs";

const { KEYWRIGHT, ORIGIN, PASS, SHOTS } = process.env;
const asks = JSON.parse(process.env.ASKS);
const keywright = (...words) =>
  JSON.parse(execFileSync(KEYWRIGHT, [...words, "--json", "--no-input", "--passphrase-file", PASS]));

const browser = await launch();
const alice = await Person.arrives(browser);
const { page } = alice;

/** Where one is, who one is, and the way out are in view without anybody scrolling. */
async function isOriented(page, path) {
  if (await page.locator("header").count() === 0) return;
  for (const what of ["header [aria-current]", "header .leave span", "header .leave button"]) {
    const place = await page.locator(what).evaluate((one) => one.getBoundingClientRect().toJSON());
    const { width, height } = page.viewportSize();
    assert.ok(place.width > 0 && place.left >= 0 && place.right <= width && place.bottom <= height, `${path}: ${what} is out of view on a phone`);
  }
}

async function take(name, path, { dark = false, whole = false } = {}) {
  for (const [end, colorScheme, width] of [["", "light", 1100], ["-phone", "light", 390], ["-dark", "dark", 1100]]) {
    if (end === "-dark" && !dark) continue;
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 780 });
    await page.goto(ORIGIN + path, { waitUntil: "networkidle" });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${path} is wider than ${width}`);
    await page.waitForFunction(() => !document.querySelector("#approve button:disabled"));
    if (width < 500) await isOriented(page, path);
    if (SHOTS) await page.screenshot({ path: join(SHOTS, `${name}${end}.png`), fullPage: whole && end !== "-phone" });
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 1100, height: 780 });
}

await take("enrol", "/enrol");
await alice.enrols(keywright("passkey", "add", "--name", "laptop"));
await take("door", "/door");
await alice.comesIn(ORIGIN);
await page.goto(`${ORIGIN}/r/${asks.status}`);
await page.getByRole("button", { name: "Approve", exact: true }).click();
await page.getByText("STATUS_PAGE: approved; the key is in force").waitFor();
const key = keywright("key", "list", "--state", "active").keys[0].id;
keywright("key", "rotate", key, "--no-wait");
await page.goto(`${ORIGIN}/r/${asks.newsletter}`);
await page.getByLabel("reason").fill("the newsletter has a zone of its own");
await page.getByRole("button", { name: "Reject", exact: true }).click();
await page.getByText("NEWSLETTER: turned down").waitFor();

await take("inbox", "/", { dark: true });
await take("review", `/r/${asks.shop}`, { dark: true });
await take("alike", `/r/${asks.blog}`, { whole: true });
await take("proposal", `/r/${asks.proposal}`);
await take("turned-down", `/r/${asks.newsletter}`);
await take("keys", "/keys");
await take("rotating", `/keys/${key}`, { whole: true });
await take("agents", "/agents");
await take("agents-one", "/agents/builder");
await take("templates", "/templates");
await take("templates-one", "/templates/cloudflare/dns-edit");
await take("policy", "/policy");
await take("audit", "/audit?verify=1");
await page.goto(`${ORIGIN}/audit?deed=approval.give`);
await take("audit-one", await page.locator("tbody tr").first().getByRole("link").first().getAttribute("href"), { whole: true });
await take("health", "/health?rows=1");
await take("passkeys", "/passkeys");
const plain = await browser.newContext({ javaScriptEnabled: false, storageState: await alice.context.storageState(), viewport: { width: 390, height: 780 } });
const still = await plain.newPage();
for (const path of ["/", "/templates", "/passkeys"]) {
  await still.goto(ORIGIN + path);
  await isOriented(still, `${path} without a script`);
}
await plain.close();
assert.deepEqual(alice.trouble, []);
await browser.close();
