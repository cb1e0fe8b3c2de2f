// Opens HTML reports in headless Chromium at three widths, light and dark: console messages, horizontal scrolling, requests to anywhere,
// axe-core's findings. Prints a row a view; with --pictures FOLDER writes a PNG of each. Exit code 1 when a view has anything of these.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const argv = process.argv.slice(2);
const at = argv.indexOf("--pictures");
const pictures = at < 0 ? null : argv.splice(at, 2)[1];
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await puppeteer.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
let bad = 0;
console.log("| page | width | scheme | console | requests | scrolls | axe: serious | axe: all | tab stops |\n|---|---|---|---|---|---|---|---|---|");
for (const file of argv) {
  for (const width of [360, 800, 1400]) {
    for (const scheme of ["light", "dark"]) {
      const page = await browser.newPage();
      const said = [];
      const asked = [];
      page.on("console", (message) => said.push(message.text()));
      page.on("pageerror", (error) => said.push(String(error)));
      page.on("request", (request) => { if (!/^(file|data):/.test(request.url())) asked.push(request.url()); });
      await page.setViewport({ width, height: 900 });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await page.goto(pathToFileURL(path.resolve(file)).href, { waitUntil: "load" });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
      const name = path.basename(file, ".html");
      if (pictures) await page.screenshot({ path: path.join(pictures, `${name}-${width}-${scheme}.png`) });
      // What is folded must be as good as what is seen.
      await page.evaluate(() => document.querySelectorAll("details").forEach((details) => { details.open = true; }));
      const wideOpen = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
      const stops = await page.evaluate(() => document.querySelectorAll("a[href], summary, [tabindex='0']").length);
      await page.evaluate(axe);
      const result = await page.evaluate(() => axe.run());
      const serious = result.violations.filter((violation) => ["serious", "critical"].includes(violation.impact));
      for (const violation of result.violations) console.error(name, width, scheme, violation.id, violation.impact, violation.nodes[0].html.slice(0, 200));
      for (const text of [...said, ...asked]) console.error(name, width, scheme, text);
      const scrolls = wide || wideOpen;
      bad += said.length + asked.length + serious.length + Number(scrolls);
      console.log(`| ${name} | ${width} | ${scheme} | ${said.length} | ${asked.length} | ${scrolls ? "yes" : "no"} | ${serious.length} | ${result.violations.length} | ${stops} |`);
      await page.close();
    }
  }
}
await browser.close();
process.exit(bad ? 1 : 0);
