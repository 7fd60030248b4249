/** `node audit.js PORT COOKIES URL…`: print, as a line of JSON a page, what Lighthouse finds wanting in it. */

import lighthouse from "lighthouse";
import puppeteer from "puppeteer-core";

const CATEGORIES = ["accessibility", "best-practices", "seo"];
const [port, cookies, ...urls] = process.argv.slice(2);
const flags = {
  port: Number(port),
  onlyCategories: CATEGORIES,
  disableStorageReset: true,
  maxWaitForLoad: 3000, // a live page's network is never idle
  logLevel: "silent",
};
await putCookies(JSON.parse(cookies));
for (const url of urls) {
  const { lhr } = await lighthouse(url, flags);
  const scores = Object.values(lhr.categories).map(({ score }) => score);
  const wanting = Object.values(lhr.audits).filter(({ score }) => score !== null && score < 1);
  const found = wanting.map(({ id, details }) => [id, details?.items?.slice(0, 3)]);
  console.log(JSON.stringify({ shown: lhr.finalDisplayedUrl, scores, found }));
}

/** Make the browser's visitor somebody who has logged in. */
async function putCookies(found) {
  const browser = await puppeteer.connect({ browserURL: `http://127.0.0.1:${port}` });
  const page = await browser.newPage();
  if (found.length) await page.setCookie(...found);
  await page.close();
  browser.disconnect();
}
