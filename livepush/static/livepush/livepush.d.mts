export * from "./livepush.js";
