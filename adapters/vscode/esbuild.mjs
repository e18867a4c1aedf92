// Bundles the extension into one file, or with --tests each test into a file that `node --test` runs.
import { readdirSync, rmSync } from "node:fs";
import { build } from "esbuild";

const shared = { bundle: true, platform: "node", target: "node20", sourcemap: "linked", logLevel: "warning" };
if (process.argv.includes("--tests")) {
  rmSync("build", { recursive: true, force: true });
  const tests = [...readdirSync("test").filter((name) => name.endsWith(".test.ts")), "live.ts"];
  await build({
    ...shared,
    entryPoints: tests.map((name) => `test/${name}`),
    outdir: "build/test",
    format: "cjs",
    // The editor is not there: a stand-in has what the code uses of it.
    alias: { vscode: "./test/vscode.ts" },
  });
} else {
  await build({
    ...shared,
    entryPoints: ["src/extension.ts"],
    outfile: "dist/extension.js",
    format: "cjs",
    external: ["vscode"],
    minify: process.argv.includes("--minify"),
  });
}
