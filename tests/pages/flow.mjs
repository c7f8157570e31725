// What people do on the review pages, and what others try with them, in a real browser.
//
//     flow.mjs        KEYWRIGHT (the binary), KEYWRIGHT_HOME, ORIGIN, PASS and BOBS (files with passphrases), ASKS (requests
//                     that wait, as JSON: two, less, alike, other, rejected, late, odd, naughty, proposal), PEERS
//
// Ends with 0 when everything is as it should be, with 77 where there is no browser.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { Person, axe, launch } from "./browser.mjs";
import { followsALink, readsTheirOwnTime } from "./reader.mjs";

const { KEYWRIGHT, ORIGIN, PASS, BOBS } = process.env;
const asks = JSON.parse(process.env.ASKS);
const keywright = (passphrase, ...words) => {
  const answer = execFileSync(KEYWRIGHT, [...words, "--json", "--no-input", "--passphrase-file", passphrase]);
  return JSON.parse(answer);
};
const status = (request) => keywright(PASS, "review", "show", request).status;
const at = (request) => `${ORIGIN}/r/${request}`;

const browser = await launch();
const step = async (name, run) => {
  try {
    await run();
    console.log(`ok: ${name}`);
  } catch (error) {
    console.error(`not ok: ${name}`);
    throw error;
  }
};

const alice = await Person.arrives(browser);
const bob = await Person.arrives(browser);
const { page } = alice;
const approve = () => page.getByRole("button", { name: /^Approve/ });

await step("a page shows nothing to whoever has no session, and leads to the door and back", async () => {
  await page.goto(at(asks.two));
  assert.equal(new URL(page.url()).pathname, "/door");
  assert.ok(!(await page.content()).includes("example.com"));
  await page.getByLabel("an operator's passphrase").fill((await import("node:fs")).readFileSync(PASS, "utf8").trim());
  await page.getByRole("button", { name: "Come in" }).click();
  await page.waitForURL(at(asks.two));
  // The session looks; there is nothing to approve with.
  assert.equal(await approve().count(), 0);
  await page.getByText("You have no passkey here yet.").waitFor();
});

await step("a link enrols one passkey, once", async () => {
  const link = keywright(PASS, "passkey", "add", "--name", "laptop");
  await alice.enrols(link);
  await bob.page.goto(link.url);
  await bob.page.getByLabel("code").fill(link.code);
  await bob.page.getByRole("button", { name: "Make the passkey" }).click();
  await bob.page.getByText("this code is not good").waitFor();
  await bob.enrols(keywright(BOBS, "passkey", "add", "--name", "phone"));
  assert.equal(keywright(PASS, "passkey", "list").passkeys.length, 2);
});

await step("the button waits until the page was seen for a second", async () => {
  await alice.comesIn(ORIGIN);
  await page.goto(at(asks.two));
  assert.equal(await approve().isDisabled(), true);
  const began = await page.evaluate(() => performance.now());
  await page.waitForFunction(() => !document.querySelector("#approve button").disabled);
  assert.ok((await page.evaluate(() => performance.now())) - began > 500);
});

await step("whoever is not recognised approves nothing", async () => {
  await alice.isRecognised(false);
  await approve().click();
  const said = page.locator("#said.bad");
  await said.waitFor();
  // It is said beside the button that was pressed, in view, and has the focus.
  assert.ok(await said.evaluate((one) => one.closest("form").id === "approve" && document.activeElement === one));
  assert.ok(await said.evaluate((one) => one.getBoundingClientRect().bottom <= innerHeight && one.getBoundingClientRect().top >= 0));
  assert.equal(status(asks.two), "pending_approval");
  assert.equal(keywright(PASS, "review", "show", asks.two).approved_by.length, 0);
  await alice.isRecognised(true);
});

await step("two people approve, each with a touch, and the key is made", async () => {
  await page.goto(at(asks.two));
  await approve().click();
  // It goes on with the next, and says what came of this one.
  await page.getByText("TWO: your approval is on record; it needs another operator").waitFor();
  assert.match(page.url(), /\/r\/req_.*\?done=/);
  assert.ok(!page.url().includes(`/r/${asks.two}`));
  await page.goto(at(asks.two));
  await page.getByText("You have approved this. It needs another operator.").waitFor();
  await page.getByText("1 of 2", { exact: true }).waitFor();
  await page.getByRole("link", { name: /^alice .* with passkey laptop$/ }).waitFor();
  await page.goto(ORIGIN);
  await page.getByRole("row").filter({ hasText: "TWO" }).getByText("you approved it; it needs another operator").waitFor();
  const counted = (await page.title()).match(/^\((\d+)\) Inbox/)[1];
  assert.equal(await page.locator(".count").textContent(), counted, "the title counts what waits for her");
  assert.equal(status(asks.two), "pending_approval");
  await bob.comesIn(ORIGIN);
  assert.equal(await bob.page.locator(".count").textContent(), String(Number(counted) + 1), "and he is asked for that one too");
  await bob.page.goto(at(asks.two));
  // Less than what she approved is another thing.
  await bob.page.getByText("Approve with less").click();
  await bob.page.getByText("the approval of alice is of all of it").waitFor();
  await bob.page.getByRole("button", { name: "Approve", exact: true }).click();
  await bob.page.getByText("TWO: approved; the key is in force").waitFor();
  assert.equal(status(asks.two), "active");
  // Who approved leads to what was signed.
  await page.goto(at(asks.two));
  const approvals = page.getByRole("link", { name: /^(alice|bob) .* with passkey (laptop|phone)$/ });
  assert.equal(await approvals.count(), 2);
  assert.ok(!/T\d\d:\d\d/.test(await approvals.first().textContent()), "in the reader's own time");
  await approvals.first().click();
  await page.waitForURL(/\/audit\/ent_\d+$/);
  await page.getByText("keywright/approval/1").first().waitFor();
});

await step("less is approved as it is shown", async () => {
  await page.goto(at(asks.less));
  await page.getByText("Approve with less").click();
  // What is chosen and not shown yet is not approved, nor is all of it in its place.
  await page.waitForFunction(() => !document.querySelector("#approve button").disabled);
  await page.getByLabel("live no longer than").selectOption("7d");
  assert.ok(await page.locator("#approve button").isDisabled());
  await page.getByText("you chose something else: show that first").waitFor();
  await page.getByLabel("live no longer than").selectOption("");
  assert.ok(await page.locator("#approve button").isEnabled(), "as it was");
  await page.getByLabel("live no longer than").selectOption("7d");
  await page.getByRole("button", { name: "Show that" }).click();
  await page.getByText("This is less than what was asked for: 7d instead of 120d.").waitFor();
  await page.getByRole("link", { name: "Show all of it again" }).waitFor();
  await approve().click();
  await page.getByText("LESS: approved; the key is in force").waitFor();
  assert.equal(keywright(PASS, "review", "show", asks.less).plan.ttl, "7d");
});

await step("requests that are alike are approved by one touch", async () => {
  await page.goto(at(asks.alike));
  await page.getByRole("heading", { name: "others like it" }).waitFor();
  const other = page.getByRole("cell", { name: "OTHER", exact: true });
  await other.waitFor();
  // What was not looked at is not approved, however long the page is open.
  await page.setViewportSize({ width: 1280, height: 400 });
  await page.evaluate(() => scrollTo(0, 0));
  await page.reload();
  await page.waitForFunction(() => !document.querySelector("#approve button").disabled);
  await page.waitForTimeout(1_500);
  assert.ok(await page.locator("#together button").isDisabled());
  await other.scrollIntoViewIfNeeded();
  await page.waitForFunction(() => !document.querySelector("#together button").disabled);
  await page.setViewportSize({ width: 1280, height: 900 });
  // What is chosen and not shown is approved of none of them.
  await page.getByText("Approve with less").click();
  await page.getByLabel("live no longer than").selectOption({ index: 1 });
  assert.ok(await page.locator("#together button").isDisabled());
  await page.getByLabel("live no longer than").selectOption("");
  assert.ok(await page.locator("#together button").isEnabled());
  // What somebody doubts they leave out.
  await page.getByRole("button", { name: "Approve these 3 with one touch" }).waitFor();
  await page.locator("#together").getByLabel("THIRD").uncheck();
  assert.ok(await page.locator("#together").getByLabel("OTHER").isDisabled(), "two are the fewest");
  await page.getByRole("button", { name: "Approve these 2 with one touch" }).click();
  // What came of them is said in one sentence, which leads to each.
  const came = page.locator(".note", { hasText: "2 requests approved; their keys are in force: ALIKE, OTHER" });
  await came.waitFor();
  assert.equal(await page.locator("main > .note").count(), 1);
  assert.equal(await came.getByRole("link", { name: "OTHER" }).getAttribute("href"), `/r/${asks.other}`);
  assert.deepEqual([status(asks.alike), status(asks.other), status(asks.third)], ["active", "active", "pending_approval"]);
  keywright(PASS, "review", "reject", asks.third, "--reason", "left out");
});

await step("requests like one that was approved are approved in advance by a touch, and no more after another", async () => {
  const grants = () => keywright(PASS, "grant", "list").grants;
  await page.goto(at(asks.alike));
  const likes = page.locator("#likes");
  for (const says of ["agent builder, in web / elsewhere", "cloudflare/dns-edit, version 1", "exactly zone = example.com"]) {
    await likes.getByText(says).waitFor();
  }
  // What was not looked at is not signed.
  await page.setViewportSize({ width: 1280, height: 400 });
  await page.evaluate(() => scrollTo(0, 0));
  await page.reload();
  await page.waitForTimeout(1_500);
  const give = page.getByRole("button", { name: "Approve requests like this from builder" });
  assert.ok(await give.isDisabled());
  await give.scrollIntoViewIfNeeded();
  await page.waitForFunction(() => !document.querySelector("#grant button").disabled);
  await page.setViewportSize({ width: 1280, height: 900 });
  // This place alone stands first and is chosen, also while a key lies there; that is said.
  const names = page.locator("#grant [name=names]");
  assert.deepEqual(await names.locator("option").allTextContents(), ["embedded:web/elsewhere/ALIKE only (taken just now)", "embedded:web/elsewhere/*, keys of any name"]);
  assert.equal(await names.inputValue(), "this");
  await likes.getByText("This place is taken just now").waitFor();
  await names.selectOption("any");
  await page.locator("#grant [name=days]").selectOption("30");
  await page.locator("#grant [name=uses]").selectOption("1");
  await give.click();
  await page.getByText(/^Approved in advance: 1 request for cloudflare\/dns-edit in web \/ elsewhere, zone = example.com/).waitFor();
  const [grant] = grants();
  assert.deepEqual(
    [grant.operator, grant.agent, grant.template, grant.environment, grant.parameters, grant.destinations, grant.uses, grant.void],
    ["alice", "builder", "cloudflare/dns-edit", "elsewhere", { zone: "example.com" }, ["embedded:web/elsewhere/*"], 1, null],
  );
  assert.equal((Date.parse(grant.until) - Date.parse(grant.given_at)) / 86_400_000, 30);
  await page.getByRole("cell", { name: grant.id }).waitFor();
  // It covers that request, so there is nothing more to give.
  await page.goto(at(asks.alike));
  assert.equal(await page.locator("#likes").count(), 0);
  await page.goto(`${ORIGIN}/agents/builder`);
  await page.locator("form[data-act=remove_grant]").getByRole("button").click();
  await page.getByText(/Nothing: .keywright grant add/).waitFor();
  assert.deepEqual(grants(), []);
});

await step("a rejection takes a touch, and the agent reads why", async () => {
  await page.goto(at(asks.rejected));
  await page.getByLabel("reason").fill("not on a friday");
  await page.getByRole("button", { name: "Reject", exact: true }).click();
  await page.getByText("REJECTED: turned down").waitFor();
  assert.equal(status(asks.rejected), "rejected");
});

await step("a page that was left open approves nothing that was decided meanwhile", async () => {
  await page.goto(at(asks.late));
  await page.waitForFunction(() => !document.querySelector("#approve button").disabled);
  // What went wrong otherwise is said, and the button stays.
  const refused = { status: 409, json: { message: "something else holds this" } };
  await page.route("**/touch/offer", (route) => route.fulfill(refused));
  await approve().click();
  await page.locator("#said.bad").getByText("something else holds this").waitFor();
  assert.equal(await page.getByRole("link", { name: "Load this page anew" }).count(), 0);
  assert.ok(await approve().isEnabled());
  await page.unroute("**/touch/offer");
  keywright(PASS, "review", "reject", asks.late, "--reason", "in the terminal");
  await approve().click();
  await page.locator("#said.bad").getByText("does not wait for approval any more").waitFor();
  assert.equal(status(asks.late), "rejected");
  // Nothing is left to press, and a link leads to how it is now.
  assert.equal(await approve().count(), 0);
  await page.getByRole("link", { name: "Load this page anew" }).click();
  await page.getByText("turned down by operator alice").waitFor();
  assert.equal(await page.locator("form.deed").count(), 0);
});

await step("a proposal comes in force by a touch", async () => {
  await page.goto(at(asks.proposal));
  await page.getByRole("button", { name: "Put in force" }).click();
  await page.getByText("template cloudflare/dns-look: in force").waitFor();
});

await step("what others wrote runs nothing and looks like nothing else", async () => {
  await page.goto(at(asks.naughty));
  const text = await page.textContent("main");
  assert.ok(text.includes("<script>") && text.includes("\\u{202e}"), "it is shown as what it is");
  assert.ok(!/[\u202a-\u202e\u200b\u001b]/.test(text));
  assert.equal(await page.evaluate(() => window.hacked), undefined);
});

await step("a zone that looks like another is marked, and its verdict is HIGH", async () => {
  await page.goto(at(asks.imitation));
  const text = await page.textContent("main");
  assert.match(text, /HIGH/);
  assert.match(text, /has a name in punycode, `xn--xample-2of`, which is shown as other letters elsewhere/);
  assert.equal(await page.locator(".bad", { hasText: "xn--xample-2of.com" }).count() > 0, true, "where it stands it is marked");
  // Wherever that is.
  const plain = await page.evaluate(() => {
    const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
    const all = [];
    while (walker.nextNode()) all.push(walker.currentNode);
    const isPlain = (one) => one.data.includes("xn--xample-2of.com") && !one.parentElement.closest(".bad:not(.verdict), .flag");
    return all.filter(isPlain).map((one) => one.data);
  });
  assert.deepEqual(plain, []);
  const colour = (what) => page.locator(what).first().evaluate((one) => getComputedStyle(one).color);
  assert.equal(await colour(".subject"), await colour(".flag"));
});

await step("a page at another origin can do nothing", async () => {
  const hostile = `<!doctype html><title>x</title><body>
    <form id=f method=post action="${ORIGIN}/touch/offer"><input name=act value=reject></form>
    <form id=l method=post action="${ORIGIN}/leave" target=w></form><iframe name=w id=w src="${at(asks.naughty)}"></iframe>
    <img src="${ORIGIN}/leave"><script src="${ORIGIN}/script.js"></script>`;
  const server = createServer((_, answer) => answer.writeHead(200, { "content-type": "text/html" }).end(hostile));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const foreign = `http://127.0.0.1:${server.address().port}/`;
  const other = await alice.context.newPage();
  const size = () => keywright(PASS, "status").health.audit_entries;
  const before = size();
  for (const host of ["127.0.0.1", "localhost"]) {
    await other.goto(foreign.replace("127.0.0.1", host));
    const tried = await other.evaluate(async ({ origin, request }) => {
      const found = [];
      const body = JSON.stringify({ act: "reject", request, reason: "x" });
      for (const mode of ["cors", "no-cors"]) {
        for (const path of ["/touch/offer", "/touch", "/door", "/leave", "/passkeys/begin"]) {
          const wish = { method: "POST", mode, credentials: "include", body, headers: mode === "cors" ? { "content-type": "application/json" } : {} };
          found.push(await fetch(origin + path, wish).then((answer) => answer.type + answer.status, () => "refused"));
        }
        found.push(await fetch(`${origin}/keys`, { mode, credentials: "include" }).then((a) => a.text(), () => ""));
      }
      return found;
    }, { origin: ORIGIN, request: asks.naughty });
    assert.ok(tried.every((one) => ["refused", "opaque0", ""].includes(one)), JSON.stringify(tried));
    const framed = other.frames().find((frame) => frame.name() === "w");
    assert.ok(!(await framed.content()).includes("example.com"), "it shows in no frame");
    await other.evaluate(() => document.getElementById("l").submit());
    await other.evaluate(() => document.getElementById("f").submit());
    await other.waitForTimeout(200);
  }
  // A passkey of ours, asked for by a page on another port: the browser may let it, and what it signs is not for here.
  assert.equal(size(), before, "nothing of all that is on record");
  await page.goto(`${ORIGIN}/keys`);
  await page.getByRole("heading", { name: "Keys" }).waitFor();
  server.close();
  await other.close();
});

await step("a name that somebody made to point here shows and does nothing", async () => {
  const other = await launch(["--host-resolver-rules=MAP evil.example 127.0.0.1"]);
  const rebound = await other.newPage();
  const answer = await rebound.goto(`http://evil.example:${new URL(ORIGIN).port}/keys`);
  assert.equal(answer.status(), 421);
  assert.match(await rebound.textContent("body"), /the pages are at http:\/\/localhost/);
  const tried = await rebound.evaluate(async () => {
    const send = (path) => fetch(path, { method: "POST", body: "{}", headers: { "content-type": "application/json" } });
    return Promise.all(["/touch/offer", "/door/offer", "/passkeys/begin"].map(async (path) => (await send(path)).status));
  });
  assert.deepEqual(tried, [421, 421, 421]);
  await other.close();
});

await step("every page is small, complete without a script, and keeps nobody out", async () => {
  const key = keywright(PASS, "key", "list").keys[0].id;
  const paths = ["/", `/r/${asks.naughty}`, `/r/${asks.less}`, `/r/${asks.two}`, "/keys", `/keys/${key}`, "/agents", "/agents/builder", "/templates",
    "/templates/cloudflare/dns-edit", "/policy", "/audit?verify=1", "/audit/ent_12", "/health?rows=1", "/passkeys"];
  const plain = await browser.newContext({ javaScriptEnabled: false, storageState: await alice.context.storageState() });
  const still = await plain.newPage();
  const paints = [];
  for (const path of paths) {
    let bytes = 0;
    const count = async (answer) => { bytes += (await answer.body().catch(() => Buffer.alloc(0))).length; };
    page.on("response", count);
    const answer = await page.goto(ORIGIN + path, { waitUntil: "networkidle" });
    page.off("response", count);
    assert.equal(answer.status(), 200, path);
    assert.ok(bytes < 60_000, `${path}: ${bytes} bytes`);
    paints.push(await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN));
    for (const [scheme, width] of [["light", 1280], ["dark", 1280], ["light", 390]]) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.setViewportSize({ width, height: 844 });
      // Past our own policy for scripts, which axe is none of.
      const found = await alice.cdp.send("Runtime.evaluate", {
        expression: `${axe}; axe.run().then((r) => JSON.stringify(r.violations.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => [v.id, v.nodes[0].html])))`,
        awaitPromise: true, returnByValue: true,
      });
      assert.equal(found.result.value, "[]", `${path} ${scheme} ${width}`);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${path} is wider than ${width}`);
    }
    await page.setViewportSize({ width: 1280, height: 900 });
    assert.equal((await still.goto(ORIGIN + path)).status(), 200);
    assert.ok((await still.textContent("main")).trim().length > 20, path);
  }
  await plain.close();
  paints.sort((a, b) => a - b);
  console.log(`first contentful paint of ${paints.length} pages: median ${paints[paints.length >> 1]} ms, last ${paints.at(-1)} ms`);
});

await step("every time stands in the reader's own zone, which is named, and without a script in UTC", async () => {
  const key = keywright(PASS, "key", "list").keys[0].id;
  await readsTheirOwnTime(browser, alice, ORIGIN, ["/", `/r/${asks.two}`, `/r/${asks.rejected}`, "/keys", `/keys/${key}`, "/agents", "/agents/builder",
    "/templates/cloudflare/dns-edit", "/policy", "/audit?verify=1", "/audit/ent_12", "/health", "/passkeys"]);
});

await step("a link without a session asks for the passkey at once, leads right back, and approves nothing", async () => {
  await followsALink(alice, ORIGIN, `${at(asks.naughty)}?whole=1`);
  assert.equal(keywright(PASS, "review", "show", asks.naughty).approved_by.length, 0, "it lets her look, and no more");
});

await step("the keyboard is enough", async () => {
  await page.goto(ORIGIN);
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/r\//);
  const first = page.url();
  await page.keyboard.press("j");
  await page.waitForURL((url) => url.href !== first && url.pathname.startsWith("/r/"));
  await page.keyboard.press("k");
  await page.waitForURL(first);
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await page.keyboard.press("Escape");
  // What was pressed before the button works is remembered; how long that takes is said.
  await page.reload();
  await page.locator("#approve .soon").getByText(/^in \d+ s$/).waitFor();
  await page.keyboard.press("a");
  await page.waitForFunction(() => document.activeElement?.textContent === "Approve");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Approve");
  await page.keyboard.press("r");
  assert.equal(await page.evaluate(() => document.activeElement.name), "reason");
});

await step("the inbox looks again by itself", async () => {
  await page.goto(ORIGIN);
  await page.evaluate(() => { window.stays = true; });
  await page.getByRole("row").filter({ hasText: "FRESH" }).waitFor();
  keywright(PASS, "review", "reject", asks.fresh, "--reason", "in the terminal");
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await page.getByRole("row").filter({ hasText: "FRESH" }).waitFor({ state: "detached" });
  assert.ok(await page.evaluate(() => window.stays), "without being loaded anew");
});

await step("a session that is over leads to the door, and what was typed stays", async () => {
  await page.goto(`${ORIGIN}/agents/builder?from=here`);
  const reason = page.locator("form[data-act=pause]").getByLabel("reason");
  await reason.fill("a long reason that nobody types twice");
  const kept = await alice.context.cookies();
  await alice.context.clearCookies();
  await page.locator("form[data-act=pause]").getByRole("button").click();
  const link = page.locator("form[data-act=pause] #said").getByRole("link");
  await link.waitFor();
  assert.equal(await link.getAttribute("href"), "/door?to=%2Fagents%2Fbuilder%3Ffrom%3Dhere");
  assert.equal(await reason.inputValue(), "a long reason that nobody types twice");
  await alice.context.addCookies(kept);
});

await step("an agent is paused and resumed by a touch, and its next ask can be turned down with it", async () => {
  const paused = () => keywright(PASS, "agent", "list").agents.find((one) => one.name === "builder").paused;
  await page.goto(`${ORIGIN}/agents/builder`);
  const form = page.locator("form[data-act=pause]");
  await form.getByLabel("reason").fill("it is odd");
  await form.getByRole("button").click();
  await page.getByText(/by alice, .*: it is odd/).waitFor();
  assert.ok(paused());
  await page.locator("form[data-act=resume]").getByRole("button").click();
  await page.locator("form[data-act=pause]").waitFor();
  assert.ok(!paused());
  await page.goto(at(asks.odd));
  await page.getByLabel("reason").fill("nobody asked you");
  await page.getByRole("button", { name: "Reject and pause agent builder" }).click();
  await page.getByText("ODD: turned down; agent builder is paused: what it asks for is refused until somebody resumes it").waitFor();
  assert.equal(status(asks.odd), "rejected");
  assert.ok(paused());
});

await step("a key is revoked by a touch, and a removed passkey touches nothing", async () => {
  const key = keywright(PASS, "key", "list", "--state", "active").keys[0];
  await page.goto(`${ORIGIN}/keys/${key.id}`);
  const form = page.locator("form[data-act=revoke]");
  await form.getByLabel("reason").fill("over");
  await form.getByRole("button").click();
  await page.getByText("revoked").first().waitFor();
  assert.equal(keywright(PASS, "key", "show", key.id).key.state, "revoked");
  // The log shows the assertion: whose, with what, over which text, and that it checks out.
  await page.goto(`${ORIGIN}/audit?deed=operator.touch`);
  await page.locator("tbody tr").first().getByRole("link").first().click();
  await page.getByRole("heading", { name: "signed" }).waitFor();
  for (const one of ["laptop", ORIGIN, "yes: a PIN, a fingerprint or a face", "yes, with the public key that stands in the entry"]) {
    await page.getByText(one, { exact: true }).first().waitFor();
  }
  await page.getByText("keywright/deed/1").first().waitFor();
  await page.getByText("it checks out").first().waitFor();
  const hers = keywright(PASS, "passkey", "list").passkeys.find((one) => one.operator === "alice");
  keywright(PASS, "passkey", "remove", hers.id);
  await page.goto(at(asks.naughty));
  assert.equal(await approve().count(), 0);
});

await step("who ends everything of an agent reads before how much that is, and after what came of it", async () => {
  const living = keywright(PASS, "key", "list", "--state", "active").keys.filter((one) => one.agent === "builder").length;
  assert.ok(living > 1);
  await bob.page.goto(`${ORIGIN}/agents/builder`);
  const form = bob.page.locator("form[data-act=revoke_all]");
  await form.getByText(`Revokes ${living} keys that it asked for, `).waitFor();
  await form.getByLabel("reason").fill("its host was taken over");
  await form.getByRole("button").click();
  await bob.page.getByText(new RegExp(`^${living} keys revoked, and confirmed gone; \\d+ requests? turned down; the agent is paused$`)).waitFor();
  await bob.page.locator("form[data-act=revoke_all]").getByText("No key of it lives. Pauses it.").waitFor();
  await bob.page.getByRole("link", { name: "its entry in the log" }).click();
  await bob.page.waitForURL(/\/audit\/ent_\d+$/);
});

await step("nothing went wrong that nobody saw", async () => {
  const expected = /status of 4(01|03|09|00)|Content Security Policy|CORS|ERR_FAILED/;
  for (const person of [alice, bob]) assert.deepEqual(person.trouble.filter((one) => !expected.test(one)), []);
});
await browser.close();
