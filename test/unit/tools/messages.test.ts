import { describe, expect, it } from "vitest";
import { explainGoFailure } from "../../../scripts/lib/tools/go.ts";
import { describeProgress, duration, progressLines } from "../../../scripts/lib/tools/resolve.ts";

/** What Go 1.26 and 1.27 print, recorded. */
const FAILURES: [string, string, string][] = [
  [
    "a proxy that does not answer",
    `go: downloading filippo.io/age v1.3.2
filippo.io/age@v1.3.2: Get "http://127.0.0.1:9/filippo.io/age/@v/v1.3.2.zip": dial tcp 127.0.0.1:9: connect: connection refused`,
    `age: filippo.io/age@v1.3.2 could not be fetched: Get "http://127.0.0.1:9/filippo.io/age/@v/v1.3.2.zip": dial tcp 127.0.0.1:9: connect: connection refused`,
  ],
  [
    "no network, while packages compile",
    `internal/goarch
internal/cpu
go: downloading sigs.k8s.io/yaml v1.6.0
example.test/a/b
../pkg/mod/example.test/a@v1.0.0/b.go:5:2: sigs.k8s.io/yaml@v1.6.0: Get "https://proxy.golang.org/sigs.k8s.io/yaml/@v/v1.6.0.zip": dial tcp: lookup proxy.golang.org: no such host`,
    `age: sigs.k8s.io/yaml@v1.6.0 could not be fetched: Get "https://proxy.golang.org/sigs.k8s.io/yaml/@v/v1.6.0.zip": dial tcp: lookup proxy.golang.org: no such host`,
  ],
  [
    "go mod download",
    `go: filippo.io/age@v1.3.2: Get "http://127.0.0.1:9/filippo.io/age/@v/v1.3.2.info": dial tcp 127.0.0.1:9: connect: connection refused`,
    `age: filippo.io/age@v1.3.2 could not be fetched: Get "http://127.0.0.1:9/filippo.io/age/@v/v1.3.2.info": dial tcp 127.0.0.1:9: connect: connection refused`,
  ],
  [
    "GOPROXY=off, which names no module",
    `go: downloading filippo.io/age v1.3.2
module lookup disabled by GOPROXY=off
module lookup disabled by GOPROXY=off`,
    "age: filippo.io/age@v1.3.2 could not be fetched: module lookup disabled by GOPROXY=off",
  ],
  [
    "GOPROXY=off for go mod download",
    "go: module lookup disabled by GOPROXY=off",
    "age: example.test/asked could not be fetched: module lookup disabled by GOPROXY=off",
  ],
  [
    "a toolchain, without network",
    `go: downloading go1.27.0 (linux/amd64)
go: download go1.27.0: golang.org/toolchain@v0.0.1-go1.27.0.linux-amd64: Get "https://proxy.golang.org/golang.org/toolchain/@v/v0.0.1-go1.27.0.linux-amd64.zip": dial tcp: lookup proxy.golang.org: no such host`,
    `age: the toolchain go1.27.0 could not be fetched: golang.org/toolchain@v0.0.1-go1.27.0.linux-amd64: Get "https://proxy.golang.org/golang.org/toolchain/@v/v0.0.1-go1.27.0.linux-amd64.zip": dial tcp: lookup proxy.golang.org: no such host`,
  ],
  [
    "a toolchain that the proxy does not have",
    `go: downloading go1.27.0 (linux/amd64)
go: download go1.27.0 for linux/amd64: toolchain not available`,
    "age: the toolchain go1.27.0 could not be fetched: toolchain not available",
  ],
  [
    "another module's bytes",
    `verifying filippo.io/age@v1.3.2: checksum mismatch
	downloaded: h1:AAAA
	go.sum:     h1:BBBB

SECURITY ERROR
This download does NOT match an earlier download recorded in go.sum.`,
    "age: filippo.io/age@v1.3.2 does not have the bytes that go.sum expects",
  ],
  [
    "a full disk",
    "go: creating work dir: mkdir /tmp/go-build1: no space left on device",
    "age: the disk is full",
  ],
  [
    "a compiler's complaint",
    `example.test/hello
# example.test/hello
src/main.go:2:14: undefined: undefined1
src/main.go:2:33: declared and not used: x`,
    "age could not be built: src/main.go:2:14: undefined: undefined1",
  ],
  [
    "a package that no module has",
    "src/main.go:2:8: cannot find module providing package example.test/nothere/x: import lookup disabled by -mod=readonly",
    "age could not be built: src/main.go:2:8: cannot find module providing package example.test/nothere/x: import lookup disabled by -mod=readonly",
  ],
  ["silence", "", "age could not be built: go gave no reason"],
];

describe("a failed go command becomes one line:", () => {
  it.each(FAILURES)("%s", (_, stderr, message) => {
    expect(explainGoFailure("age", stderr, "example.test/asked").message).toBe(message);
  });
});

describe("progress in words", () => {
  it.each([
    [
      { kind: "building", tools: ["age", "age-keygen"], first: 2, total: 14, usualSeconds: 135 },
      "building age, age-keygen (2 to 3 of 14, usually 2m15s)",
    ],
    [
      { kind: "building", tools: ["sops"], first: 1, total: 1, usualSeconds: 70 },
      "building sops (1 of 1, usually 1m10s)",
    ],
    [{ kind: "step", tools: ["sops"], text: "312 packages compiled" }, "sops: 312 packages compiled"],
    [{ kind: "built", tool: "sops", done: 3, total: 14, seconds: 68.4 }, "built sops in 1m08s (3 of 14)"],
    [{ kind: "waiting", tools: ["sops"] }, "waiting for another process that builds sops"],
  ] as const)("%j", (event, line) => {
    expect(describeProgress(event)).toBe(line);
  });

  it.each([
    [0.26, "0.3s"],
    [9.94, "9.9s"],
    [59.4, "59s"],
    [60, "1m00s"],
    [754.6, "12m35s"],
  ])("%d seconds are %s", (seconds, text) => {
    expect(duration(seconds)).toBe(text);
  });
});

describe("the lines of a build", () => {
  const lines: string[] = [];
  let seconds = 0;
  const report = progressLines(
    (line) => lines.push(line),
    undefined,
    () => seconds * 1000,
  );

  it("tell of it every half minute, not of each package", () => {
    report({ kind: "building", tools: ["argocd"], first: 1, total: 1, usualSeconds: 300 });
    for (let count = 1; count <= 2500; count += 1) {
      seconds = count / 25;
      report({ kind: "step", tools: ["argocd"], text: `${count} packages compiled` });
    }
    report({ kind: "built", tool: "argocd", done: 1, total: 1, seconds });
    expect(lines).toEqual([
      "building argocd (1 of 1, usually 5m00s)",
      "argocd: 750 packages compiled",
      "argocd: 1500 packages compiled",
      "argocd: 2250 packages compiled",
      "built argocd in 1m40s (1 of 1)",
    ]);
  });
});
