import { useEffect, useRef, useState } from "preact/hooks";
import { clock, duration } from "./format";
import { type Live, live, useLive } from "./live";
import { Login } from "./login";
import { Segments } from "./parts/controls";
import { CloseIcon, Mark, MenuIcon, MoonIcon, SunIcon, SystemIcon } from "./parts/icons";
import { Skeleton, Trouble } from "./parts/states";
import { Alerts } from "./pages/alerts";
import { Keys } from "./pages/keys";
import { Overview } from "./pages/overview";
import { Providers } from "./pages/providers";
import { Requests } from "./pages/requests";
import { Runtime } from "./pages/runtime";
import { href, type Route, useRoute } from "./route";
import { choose, chosen, type Theme } from "./theme";

const PAGES = [
  { id: "overview", title: "Overview", page: Overview },
  { id: "providers", title: "Providers", page: Providers },
  { id: "keys", title: "Keys & limits", page: Keys },
  { id: "requests", title: "Requests", page: Requests },
  { id: "runtime", title: "Runtime", page: Runtime },
  { id: "alerts", title: "Alerts", page: Alerts },
] as const;

export function App() {
  const model = useLive();
  useEffect(() => void live.begin(), []);
  if (model.session === "in") return <Shell />;
  if (model.session === "out") return <Login />;
  if (model.trouble === null) {
    return (
      <main class="login" id="main">
        <Skeleton rows={4} label="Connecting" />
      </main>
    );
  }
  return (
    <main class="login" id="main">
      <Trouble message={model.trouble} retry={() => void live.begin()} />
    </main>
  );
}

function Shell() {
  const model = useLive();
  const route = useRoute();
  const [open, setOpen] = useState(false);
  const heading = useRef<HTMLHeadingElement>(null);
  const menu = useRef<HTMLButtonElement>(null);
  const current = PAGES.find((page) => page.id === route.page) ?? PAGES[0];
  const firing = model.alerts.filter((alert) => alert.state === "firing").length;
  const first = useRef(true);

  useEffect(() => {
    setOpen(false);
    // A reader who did not see the page change hears its name.
    if (!first.current) heading.current?.focus();
    first.current = false;
    scrollTo(0, 0);
  }, [current.id]);

  const name = model.instance?.name ?? "";
  useEffect(() => {
    document.title = `${firing > 0 ? `(${firing}) ` : ""}${current.title} · ${name || "Tidegate"}`;
  }, [current.id, firing, name]);

  const escape = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || !open) return;
    setOpen(false);
    menu.current?.focus();
  };
  const skip = (event: Event) => {
    event.preventDefault();
    heading.current?.focus();
  };

  return (
    <div class="shell" onKeyDown={escape}>
      <a class="skip" href={href(current.id)} onClick={skip}>
        Skip to content
      </a>
      <header class={open ? "side open" : "side"}>
        <div class="top">
          <div class="brand">
            <Mark />
            <span class="brand-text">
              <b>Tidegate</b>
              {name && <small title={name}>{name}</small>}
            </span>
          </div>
          <Connection model={model} />
          <button
            type="button"
            ref={menu}
            class="menu"
            aria-expanded={open}
            aria-controls="navigation"
            aria-label={open ? "Close menu" : "Open menu"}
            onClick={() => setOpen(!open)}
          >
            {open ? <CloseIcon /> : <MenuIcon />}
          </button>
        </div>
        <div id="navigation" class="drawer">
          <Navigation route={route} current={current.id} firing={firing} />
          <Foot model={model} />
        </div>
      </header>
      <main id="main" key={current.id}>
        <current.page heading={heading} title={current.title} query={route.query} />
      </main>
    </div>
  );
}

function Navigation({ route, current, firing }: { route: Route; current: string; firing: number }) {
  const range = route.query.get("range");
  return (
    <nav aria-label="Pages">
      <ul>
        {PAGES.map((page) => (
          <li key={page.id}>
            <a href={href(page.id, { range })} aria-current={page.id === current ? "page" : undefined}>
              {page.title}
              {page.id === "alerts" && firing > 0 && (
                <span class="badge">
                  {firing}
                  <span class="sr"> firing</span>
                </span>
              )}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

/** Live, reconnecting, or live with old readings: never silent about which. */
function Connection({ model }: { model: Live }) {
  const link = model.link;
  if (link === null || link.state === "connecting") {
    return <p class="link waiting" role="status"><i aria-hidden="true" /> Connecting…</p>;
  }
  if (link.state === "waiting") {
    const seen = model.sampled_ms > 0 ? `Last reading at ${clock(model.sampled_ms)}` : "No reading yet";
    return (
      <p class="link broken" role="status" title={seen}>
        <i aria-hidden="true" /> Reconnecting…
        <button type="button" class="quiet" onClick={link.retry}>Now</button>
      </p>
    );
  }
  if (model.stale) {
    return (
      <p class="link waiting" role="status">
        <i aria-hidden="true" /> Stale: {model.sampled_ms > 0 ? `last reading at ${clock(model.sampled_ms)}` : "no reading yet"}
      </p>
    );
  }
  return <p class="link live" role="status"><i aria-hidden="true" /> Live</p>;
}

function Foot({ model }: { model: Live }) {
  const [theme, setTheme] = useState<Theme>(chosen());
  const pick = (value: Theme) => {
    choose(value);
    setTheme(value);
  };
  const instance = model.instance;
  return (
    <div class="foot">
      <Segments
        name="theme"
        label="Colours"
        value={theme}
        choices={[
          { value: "system", label: "As the system", face: <SystemIcon /> },
          { value: "light", label: "Light", face: <SunIcon /> },
          { value: "dark", label: "Dark", face: <MoonIcon /> },
        ]}
        onChoose={pick}
      />
      <button type="button" class="quiet" onClick={() => void live.logout()}>
        Sign out
      </button>
      {instance && (
        <p class="hint">
          Version {instance.version}
          <br />
          up {duration((Date.now() - instance.started_ms) / 1000)}
        </p>
      )}
    </div>
  );
}
