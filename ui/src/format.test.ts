import { describe, expect, test } from "vitest";
import { ago, axis, bytes, count, duration, limitText, percent, usd, withUnit } from "./format";

describe("numbers keep about three digits", () => {
  test.each([
    [0, "0"],
    [0.004, "0.004"],
    [0.25, "0.25"],
    [7.126, "7.13"],
    [42, "42"],
    [42.04, "42"],
    [999.4, "999"],
    [1234, "1,234"],
    [12_345, "12.3 k"],
    [999_600, "1 M"],
    [2_500_000_000, "2.5 G"],
  ])("%d is %s", (value, text) => expect(count(value)).toBe(text));
});

describe("durations choose the unit that reads best", () => {
  test.each([
    [0, "0 s"],
    [0.000_087, "87 µs"],
    [0.000_999_9, "1 ms"],
    [0.42, "420 ms"],
    [1.5, "1.5 s"],
    [119, "119 s"],
    [120, "2 min"],
    [9000, "2.5 h"],
    [864_000, "10 d"],
  ])("%d s is %s", (value, text) => expect(duration(value)).toBe(text));
});

test("a share is never rounded to all or to nothing", () => {
  expect(percent(1)).toBe("100%");
  expect(percent(0.999_99)).toBe("99.99%");
  expect(percent(0.000_01)).toBe("<0.01%");
  expect(percent(0)).toBe("0%");
});

test("small amounts of money keep digits that mean something", () => {
  expect(usd(0.000_42)).toBe("$0.00042");
  expect(usd(0.0123)).toBe("$0.012");
  expect(usd(12.3)).toBe("$12.30");
  expect(usd(0)).toBe("$0");
  expect(usd(12_345)).toBe("$12.3 k");
});

test("bytes count in 1024s", () => {
  expect(bytes(512)).toBe("512 B");
  expect(bytes(1536)).toBe("1.5 KiB");
  expect(bytes(1024 ** 2 * 45)).toBe("45 MiB");
  expect(bytes(1023.9 * 1024)).toBe("1 MiB");
});

test("what was not measured is a dash, whatever its unit", () => {
  for (const unit of ["per_s", "usd", "ratio", "s", "bytes", "count", "cores"] as const) {
    expect(withUnit(null, unit)).toBe("–");
    expect(withUnit(Number.NaN, unit)).toBe("–");
  }
});

test("an axis leaves out what its title says", () => {
  expect(axis(5000, "per_s")).toBe("5 k");
  expect(axis(10, "usd_per_h")).toBe("$10");
  expect(axis(0.5, "usd_per_h")).toBe("$0.50");
});

test("a limit reads as a sentence", () => {
  expect(limitText({ requests: 60, window_s: 60, burst: 10 })).toBe("60 per minute, burst 10");
  expect(limitText({ requests: 5, window_s: 30, burst: 5 })).toBe("5 per 30 s");
  expect(limitText({ requests: null, window_s: null, burst: 4 })).toBe("4 at once");
});

test("a time before the first second is just now", () => {
  expect(ago(1000, 1200)).toBe("just now");
  expect(ago(1000, 91_000)).toBe("90 s ago");
});
