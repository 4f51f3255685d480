import { expect, test } from "vitest";
import type { SampleEvent, SeriesAnswer } from "./contract";
import { highest, LEAST_POINTS, lowest, mean, recent, SeriesSet, shrink, sum } from "./series";

function answer(): SeriesAnswer {
  return {
    range: "15m",
    step_s: 1,
    start_ms: 100_000,
    count: 4,
    series: [
      { name: "requests", unit: "per_s", labels: { provider: "acme" }, values: [1, null, 3, 4] },
      { name: "requests", unit: "per_s", labels: { provider: "other" }, values: [0, 0, 0, 1] },
    ],
  };
}

function sample(time_ms: number, provider: string, value: number | null): SampleEvent {
  return { time_ms, series: [{ name: "requests", by: "provider", labels: { provider }, value }] };
}

test("a reading moves the window by one second and keeps its length", () => {
  const set = new SeriesSet(answer());
  set.append(sample(104_010, "acme", 5), "provider");
  expect(set.times_s).toEqual([101, 102, 103, 104]);
  expect(set.values("requests", "acme")).toEqual([null, 3, 4, 5]);
});

test("what a reading does not mention was not measured", () => {
  const set = new SeriesSet(answer());
  set.append(sample(104_000, "acme", 5), "provider");
  expect(set.values("requests", "other")).toEqual([0, 0, 1, null]);
});

test("seconds without readings stay empty", () => {
  const set = new SeriesSet(answer());
  set.append(sample(106_000, "acme", 9), "provider");
  expect(set.times_s).toEqual([103, 104, 105, 106]);
  expect(set.values("requests", "acme")).toEqual([4, null, null, 9]);
});

test("after a long pause nothing old is left", () => {
  const set = new SeriesSet(answer());
  set.append(sample(900_000, "acme", 9), "provider");
  expect(set.times_s).toEqual([897, 898, 899, 900]);
  expect(set.values("requests", "acme")).toEqual([null, null, null, 9]);
});

test("a reading of the past changes nothing, one of the same second replaces it", () => {
  const set = new SeriesSet(answer());
  set.append(sample(90_000, "acme", 7), "provider");
  expect(set.values("requests", "acme")).toEqual([1, null, 3, 4]);
  set.append(sample(103_000, "acme", 8), "provider");
  expect(set.values("requests", "acme")).toEqual([1, null, 3, 8]);
});

test("a label that appears later gets a series of its own; other groupings are left alone", () => {
  const set = new SeriesSet(answer());
  set.append(sample(104_000, "new", 2), "provider");
  set.append(sample(105_000, "model-not-provider", 2), "model");
  expect(set.labels()).toEqual(["acme", "new", "other"]);
  expect(set.values("requests", "new")).toEqual([null, null, 2, null]);
});

test("what lies before the first reading of all is left out, but for a few points", () => {
  const fresh = { ...answer(), count: 900, series: [] as SeriesAnswer["series"] };
  const values = new Array<number | null>(900).fill(null);
  values[700] = 1;
  fresh.series.push({ name: "requests", unit: "per_s", labels: {}, values });
  const set = new SeriesSet(fresh);
  expect(set.times_s.length).toBe(200);
  expect(set.values("requests")[0]).toBe(1);
  set.append({ time_ms: 1_000_000, series: [{ name: "requests", by: "total", labels: {}, value: 2 }] }, "total");
  expect(set.values("requests").length).toBe(201);
  const empty = new SeriesSet({ ...fresh, series: [] });
  expect(empty.times_s.length).toBe(LEAST_POINTS);
  empty.append({ time_ms: 1_000_000, series: [] }, "total");
  expect(empty.times_s.length).toBe(LEAST_POINTS);
});

test("an unknown series is empty, not missing", () => {
  expect(new SeriesSet(answer()).values("nothing")).toEqual([null, null, null, null]);
});

test("sums of readings ignore the seconds that were not measured", () => {
  expect(mean([1, null, 3])).toBe(2);
  expect(mean([null])).toBeNull();
  expect(recent([9, 1, 3], 2)).toBe(2);
  expect(highest([null, 2, -1])).toBe(2);
  expect(lowest([null, 2, -1])).toBe(-1);
  expect(sum([[1, null, null], [2, 3, null]])).toEqual([3, 3, null]);
  expect(shrink([1, 3, null, null], 2)).toEqual([2, null]);
});
