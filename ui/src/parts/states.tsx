import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { live } from "../live";

/** Grey shapes where content will be. */
export function Skeleton({ rows = 3, label = "Loading" }: { rows?: number; label?: string }) {
  return (
    <div class="skeleton" role="status">
      <span class="sr">{label}…</span>
      {Array.from({ length: rows }, (_, i) => (
        <div key={i} class="bone" />
      ))}
    </div>
  );
}

/** What went wrong, in words, and a way to try again. */
export function Trouble({ message, retry }: { message: string; retry: () => void }) {
  return (
    <div class="trouble" role="alert">
      <p>{message}</p>
      <button type="button" onClick={retry}>
        Try again
      </button>
    </div>
  );
}

export function Nothing({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

/** Before the first request: the line that makes one. */
export function FirstRequest() {
  const instance = live.instance;
  const address = instance?.address ?? location.origin;
  const model = instance?.models.includes("demo") ? "demo" : (instance?.models[0] ?? "demo");
  const line = [
    `curl ${address}/v1/chat/completions \\`,
    `  -H "Authorization: Bearer $TIDEGATE_KEY" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d '{"model": "${model}", "messages": [{"role": "user", "content": "Hello"}]}'`,
  ].join("\n");
  return (
    <Nothing title="No traffic yet: send a request">
      <p>Put a key into TIDEGATE_KEY (the first one was printed when the gateway started), then:</p>
      <Code text={line} label="Command for a first request" />
    </Nothing>
  );
}

export function Code({ text, label }: { text: string; label: string }) {
  const [said, say] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
    } catch {
      say("Select the text to copy it");
    }
    setTimeout(() => say(""), 2500);
  };
  return (
    <div class="code">
      <pre tabIndex={0} role="region" aria-label={label}>
        <code>{text}</code>
      </pre>
      <button type="button" class="quiet" onClick={copy}>
        Copy
      </button>
      <span class="said" role="status">
        {said}
      </span>
    </div>
  );
}
