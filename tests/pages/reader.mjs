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
