export type Theme = "system" | "light" | "dark";

const STORED = "tidegate-theme";
const changes = new EventTarget();
const dark = matchMedia("(prefers-color-scheme: dark)");

/** The reader's choice; "system" where storage is closed or nothing was chosen. */
export function chosen(): Theme {
  try {
    const stored = localStorage.getItem(STORED);
    return stored === "light" || stored === "dark" ? stored : "system";
  } catch {
    return "system";
  }
}

export function choose(theme: Theme): void {
  try {
    if (theme === "system") localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, theme);
  } catch {
    // The choice then holds for this visit only.
  }
  apply(theme);
}

export function apply(theme: Theme = chosen()): void {
  const root = document.documentElement;
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  changes.dispatchEvent(new Event("change"));
}

/** Call back when colours change, by choice or because the system changes them. */
export function onColours(call: () => void): () => void {
  changes.addEventListener("change", call);
  dark.addEventListener("change", call);
  return () => {
    changes.removeEventListener("change", call);
    dark.removeEventListener("change", call);
  };
}
