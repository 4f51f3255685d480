import { useEffect, useState } from "preact/hooks";

/** A place in the application: `#/requests?status=5xx`. */
export interface Route {
  page: string;
  query: URLSearchParams;
}

export function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  return { page: path || "overview", query: new URLSearchParams(query) };
}

/** Address of a page; empty values are left out. */
export function href(page: string, query: Record<string, string | null> = {}): string {
  const kept = Object.entries(query).filter((pair): pair is [string, string] => !!pair[1]);
  const text = new URLSearchParams(kept).toString();
  return `#/${page}${text ? `?${text}` : ""}`;
}

/** Change values of the address in place: no new entry in the history for a filter. */
export function amend(changes: Record<string, string | null>): void {
  const route = parse(location.hash);
  for (const [name, value] of Object.entries(changes)) {
    if (value) route.query.set(name, value);
    else route.query.delete(name);
  }
  const next = href(route.page, Object.fromEntries(route.query));
  history.replaceState(null, "", next);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parse(location.hash));
  useEffect(() => {
    const follow = () => setRoute(parse(location.hash));
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return route;
}
