// A browser with a person before it: Chromium, and an authenticator that Chromium itself plays. PEERS names the directory of
// `node_modules`. Ends with 77 where there is no library or no browser.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.PEERS ?? import.meta.dirname, "package.json"));

function library(name) {
  try {
    return require(name);
  } catch (error) {
    if (error.code === "MODULE_NOT_FOUND") process.exit(77);
    throw error;
  }
}

const { chromium } = library("playwright-core");
/** The source of axe, which looks for what keeps people out. */
export const axe = library("axe-core").source;

/** Where Debian, and others, put it. */
const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export async function launch(more = []) {
  const executablePath = process.env.KEYWRIGHT_CHROMIUM ?? PLACES.find((place) => existsSync(place));
  if (!executablePath) process.exit(77);
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", ...more] });
}

/** A person: a profile of their own, and an authenticator that recognises them. */
export class Person {
  static async arrives(browser, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const page = await context.newPage();
    const person = new Person(context, page);
    person.trouble = [];
    page.on("pageerror", (error) => person.trouble.push(`error: ${error}`));
    page.on("console", (message) => {
      if (message.type() === "error") person.trouble.push(`console: ${message.text()}`);
    });
    page.on("dialog", (dialog) => {
      person.trouble.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    person.cdp = await context.newCDPSession(page);
    await person.cdp.send("WebAuthn.enable");
    const { authenticatorId } = await person.cdp.send("WebAuthn.addVirtualAuthenticator", {
      options: {
        protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true,
        isUserVerified: true, automaticPresenceSimulation: true,
      },
    });
    person.authenticator = authenticatorId;
    return person;
  }

  constructor(context, page) {
    this.context = context;
    this.page = page;
  }

  /** Whether the authenticator recognises who touches it. */
  async isRecognised(isUserVerified) {
    await this.cdp.send("WebAuthn.setUserVerified", { authenticatorId: this.authenticator, isUserVerified });
  }

  async enrols({ url, code }) {
    await this.page.goto(url);
    await this.page.getByLabel("code").fill(code.toLowerCase());
    await this.page.getByRole("button", { name: "Make the passkey" }).click();
    await this.page.getByText(/The passkey is (enrolled|made)\./).waitFor();
  }

  async comesIn(origin) {
    await this.page.goto(`${origin}/door`);
    await this.page.getByRole("button", { name: "Come in with a passkey" }).click();
    await this.page.getByRole("heading", { name: "Inbox" }).waitFor();
  }

  async leaves() {
    await this.context.close();
  }
}
