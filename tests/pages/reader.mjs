// What a reader has of the pages: their own time, and a link that leads to what it is a link to.

import assert from "node:assert/strict";

/** Every time stands in the reader's own zone, which is named; and where no script runs in UTC. */
export async function readsTheirOwnTime(browser, person, origin, paths) {
  for (const [javaScriptEnabled, zone] of [[true, /\d\d:\d\d GMT\+5:30/], [false, /\d{4}-\d\d-\d\d \d\d:\d\d UTC/]]) {
    const context = await browser.newContext({ javaScriptEnabled, timezoneId: "Asia/Kolkata", locale: "en-GB", storageState: await person.context.storageState() });
    const there = await context.newPage();
    for (const path of paths) {
      await there.goto(origin + path);
      const main = await there.textContent("main");
      // But for what was signed, and what stands in the log, letter by letter.
      const raw = (await there.locator("pre").allTextContents()).reduce((text, one) => text.replace(one, ""), main);
      assert.ok(!/\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?! UTC)/.test(raw), `${path}: ${raw.match(/.{40}\d{4}-\d\d-\d\d[T ].{20}/)}`);
      if (javaScriptEnabled) assert.ok(!raw.includes(" UTC"), path);
      const times = await there.locator("time").evaluateAll((all) => all.map((one) => [one.textContent, one.title]));
      for (const [shown, title] of times) {
        assert.match(/\d\d:\d\d/.test(shown) ? shown : title, zone, path);
      }
    }
    await context.close();
  }
}

/** A link to a review, without a session, asks for the passkey at once, and the touch leads right back. */
export async function followsALink(person, origin, link) {
  const kept = await person.context.cookies();
  await person.context.clearCookies();
  // Who is not recognised stays outside, and has the buttons.
  await person.isRecognised(false);
  await person.page.goto(link);
  await person.page.getByText("The passkey was not touched.").waitFor();
  assert.equal(new URL(person.page.url()).pathname, "/door");
  assert.ok(await person.page.getByRole("button", { name: "Come in with a passkey" }).isEnabled());
  await person.isRecognised(true);
  await person.page.goto(link, { waitUntil: "commit" });
  await person.page.waitForURL(link);
  await person.page.getByRole("heading", { name: /^HIGH/ }).waitFor();
  // Nobody is asked who did not follow a link to a review: not elsewhere, and not by a page that looks again.
  for (const path of ["/keys", "/"]) {
    await person.context.clearCookies();
    await person.page.goto(origin + path);
    await person.page.waitForTimeout(500);
    assert.equal(new URL(person.page.url()).pathname, "/door");
    assert.ok(await person.page.locator("#said").isHidden());
  }
  await person.context.addCookies(kept);
  // From elsewhere a link comes without the session that there is: nobody is asked for a passkey then.
  await person.isRecognised(false);
  await person.page.goto("data:text/html,<a href='" + link + "'>the link</a>");
  await person.page.getByRole("link").click();
  await person.page.waitForURL(link);
  await person.page.getByRole("heading", { name: /^HIGH/ }).waitFor();
  await person.isRecognised(true);
}
