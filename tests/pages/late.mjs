// A request expires while its page is open: the touch comes too late.
//
//     late.mjs        ORIGIN, CODE (good for one passkey), REQUEST, PEERS
//
// Says `open` once the page waits for its touch, and goes on when a line comes on standard input. Ends with 77 where there is no browser.

import assert from "node:assert/strict";
import { once } from "node:events";
import { Person, launch } from "./browser.mjs";

const { ORIGIN, CODE, REQUEST } = process.env;
const browser = await launch();
try {
  const person = await Person.arrives(browser);
  await person.enrols({ url: `${ORIGIN}/enrol`, code: CODE });
  await person.comesIn(ORIGIN);
  const { page } = person;
  await page.goto(`${ORIGIN}/r/${REQUEST}`);
  await page.waitForFunction(() => !document.querySelector("#approve button").disabled);
  console.log("open");
  await once(process.stdin, "data");
  await page.locator("#approve button").click();
  await page.locator("#said.bad").waitFor();
  assert.match(await page.locator("#said").textContent(), /does not wait for approval any more|session/);
  // Where the session is over, a touch leads back here.
  await page.goto(`${ORIGIN}/r/${REQUEST}`, { waitUntil: "commit" });
  await page.waitForURL(`${ORIGIN}/r/${REQUEST}`);
  await page.locator(".verdict").getByText("expired: nobody decided").waitFor();
  assert.equal(await page.locator("#approve").count(), 0, "there is nothing to approve any more");
  console.log("ok: a touch that comes too late approves nothing");
} finally {
  await browser.close();
  process.stdin.unref?.();
}
process.exit(0);
