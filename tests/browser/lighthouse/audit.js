/** `node audit.js PORT URL…`: print, as a line of JSON a page, what Lighthouse finds wanting in it. */

import lighthouse from "lighthouse";

const CATEGORIES = ["accessibility", "best-practices", "seo"];
const [port, ...urls] = process.argv.slice(2);
const flags = {
  port: Number(port),
  onlyCategories: CATEGORIES,
  disableStorageReset: true,
  maxWaitForLoad: 3000, // a live page's network is never idle
  logLevel: "silent",
};
for (const url of urls) {
  const { lhr } = await lighthouse(url, flags);
  const scores = Object.values(lhr.categories).map(({ score }) => score);
  const wanting = Object.values(lhr.audits).filter(({ score }) => score !== null && score < 1);
  const found = wanting.map(({ id, details }) => [id, details?.items?.slice(0, 3)]);
  console.log(JSON.stringify({ shown: lhr.finalDisplayedUrl, scores, found }));
}
