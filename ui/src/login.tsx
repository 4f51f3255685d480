import { useEffect, useRef, useState } from "preact/hooks";
import * as api from "./api";
import { live } from "./live";
import { Mark } from "./parts/icons";

/** The admin token goes to the control port once, for a cookie; the browser keeps no copy. */
export function Login() {
  const field = useRef<HTMLInputElement>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);

  useEffect(() => {
    document.title = "Sign in · Tidegate";
    field.current?.focus();
  }, []);

  const submit = async (event: Event) => {
    event.preventDefault();
    const token = field.current?.value.trim() ?? "";
    if (token === "") {
      setProblem("Enter the admin token.");
      field.current?.focus();
      return;
    }
    setBusy(true);
    setProblem(null);
    try {
      await live.login(token);
    } catch (error) {
      setBusy(false);
      setProblem(error instanceof api.Unauthorized ? "This token is not valid." : (error as Error).message);
      field.current?.select();
    }
  };

  return (
    <main class="login" id="main">
      <form class="card" onSubmit={submit}>
        <div class="brand">
          <Mark />
          <h1>Tidegate</h1>
        </div>
        {/* Password managers ask for a name to file the token under. */}
        <input type="text" name="username" autocomplete="username" value="tidegate-admin" readOnly hidden />
        <label for="token">Admin token</label>
        <input
          id="token"
          ref={field}
          type="password"
          autocomplete="current-password"
          autocapitalize="off"
          spellcheck={false}
          placeholder="tga_…"
          aria-describedby="token-hint token-problem"
          aria-invalid={problem !== null}
        />
        <p id="token-problem" class="problem" role="alert">
          {problem}
        </p>
        <button type="submit" class="primary" disabled={busy}>
          {busy ? "Signing in…" : "Sign in"}
        </button>
        <p id="token-hint" class="hint">
          It was printed once, when the gateway first started. <code>tidegate admin-token rotate</code> makes a new
          one.
        </p>
      </form>
    </main>
  );
}
